// The heat map's switch, class, opacity and legend.

import { className, shownOrder } from "./classes.js";
import { byId, make } from "./dom.js";
import { paintLegend } from "./heat_colours.js";

export function makeHeatControls(store) {
  const toggle = byId("heat-toggle");
  const choice = byId("heat-class");
  const opacity = byId("heat-opacity");
  paintLegend(byId("legend-canvas"));

  toggle.addEventListener("click", () => store.set({ heatOn: !store.get("heatOn") }));
  choice.addEventListener("change", () => store.set({ heatClass: choice.value }));
  opacity.addEventListener("input", () =>
    store.set({ heatOpacity: opacity.valueAsNumber / 100 }),
  );

  store.on(["classes"], () => {
    choice.replaceChildren(
      ...shownOrder(store.get("classes")).map((key) =>
        make("option", { value: key }, className(key)),
      ),
    );
    choice.value = store.get("heatClass");
  });

  function write() {
    toggle.setAttribute("aria-checked", String(store.get("heatOn")));
    choice.value = store.get("heatClass");
    const percent = Math.round(100 * store.get("heatOpacity"));
    opacity.value = percent;
    byId("heat-opacity-text").textContent = `${percent} %`;
    byId("legend").dataset.on = String(store.get("heatOn"));
    const peak = store.get("heatPeak");
    byId("legend-peak").textContent =
      peak === null
        ? "greatest in this slice"
        : peak > 0
          ? `greatest: ${peak.toPrecision(2)} logit`
          : "no pixel raises the logit";
  }
  store.on(["heatOn", "heatClass", "heatOpacity", "heatPeak"], write);
  write();
}
