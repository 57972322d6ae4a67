// The outlines' switch, legend, opacity and fill. The card is there if the model gives masks.

import { className, shownOrder } from "./classes.js";
import { byId, make, show } from "./dom.js";
import { classColour } from "./outlines.js";

export function makeOutlineControls(store) {
  const card = byId("outlines");
  const toggle = byId("outline-toggle");
  const opacity = byId("outline-opacity");
  const fill = byId("outline-fill");
  const buttons = new Map();

  toggle.addEventListener("click", () => store.set({ outlinesOn: !store.get("outlinesOn") }));
  opacity.addEventListener("input", () => store.set({ outlineOpacity: opacity.valueAsNumber / 100 }));
  fill.addEventListener("change", () => store.set({ outlineFill: fill.checked }));

  function hideOrShow(key) {
    const hidden = new Set(store.get("outlinesHidden"));
    if (!hidden.delete(key)) hidden.add(key);
    store.set({ outlinesHidden: hidden });
  }

  function build() {
    buttons.clear();
    byId("outline-legend").replaceChildren(
      ...shownOrder(store.get("classes")).map((key) => {
        const swatch = make("i", { class: "swatch", "aria-hidden": "true" });
        swatch.style.setProperty("--class-colour", classColour(key));
        const attributes = { type: "button", "data-class": key, onclick: () => hideOrShow(key) };
        const button = make("button", attributes, swatch, make("span", {}, className(key)));
        buttons.set(key, button);
        return make("li", {}, button);
      }),
    );
  }

  function write() {
    show(card, hasMasks(store));
    toggle.setAttribute("aria-checked", String(store.get("outlinesOn")));
    const percent = Math.round(100 * store.get("outlineOpacity"));
    opacity.value = percent;
    byId("outline-opacity-text").textContent = `${percent} %`;
    fill.checked = store.get("outlineFill");
    for (const [key, button] of buttons) {
      const isShown = !store.get("outlinesHidden").has(key);
      button.setAttribute("aria-pressed", String(isShown));
      button.title = `${isShown ? "Hide" : "Show"} the outline of ${className(key).toLowerCase()}`;
    }
  }

  store.on(["classes"], build);
  store.on(
    ["classes", "study", "series", "outlinesOn", "outlinesHidden", "outlineOpacity", "outlineFill"],
    write,
  );
  write();
}

// Whether the series that is shown has masks.
export function hasMasks(store) {
  const series = store.get("study")?.series[store.get("series")];
  return Boolean(series?.areas_mm2);
}
