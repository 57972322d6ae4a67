// The heat map's switch, class, opacity and legend.

import { className, shownOrder } from "./classes.js";
import { byId, make } from "./dom.js";
import { paintLegend } from "./heat_colours.js";

export function makeHeatControls(store) {
  const toggle = byId("heat-toggle");
  const choice = byId("heat-class");
  const opacity = byId("heat-opacity");
  const below = byId("heat-below");
  paintLegend(byId("legend-canvas"));

  toggle.addEventListener("click", () => store.set({ heatOn: !store.get("heatOn") }));
  choice.addEventListener("change", () => store.set({ heatClass: choice.value }));
  opacity.addEventListener("input", () =>
    store.set({ heatOpacity: opacity.valueAsNumber / 100 }),
  );

  below.addEventListener("change", () => store.set({ heatBelow: below.checked }));

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
    below.checked = store.get("heatBelow");
    byId("legend-peak").textContent = legendText(store);
  }
  store.on(["heatOn", "heatClass", "heatOpacity", "heatBelow", "heat", "model"], write);
  write();
}

// The end of the model's scale, which is the same for all slices, and what the slice has of it.
function legendText(store) {
  const scale = store.get("model")?.heat_scale[store.get("heatClass")];
  if (scale === undefined) return "";
  const heat = store.get("heat");
  const here = heat ? `here up to ${heat.greatest > 0 ? heat.greatest.toPrecision(2) : "0"}; ` : "";
  return `${here}scale of the model: ${scale.toPrecision(2)} logit`;
}
