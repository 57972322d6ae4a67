// The six probabilities of the slice that is shown, each with its operating point.

import { className, isAbove, probabilityText, shownOrder } from "./classes.js";
import { byId, make, show } from "./dom.js";
import { areaText } from "./outlines.js";

export function makeProbabilities(store) {
  const list = byId("probabilities");
  let lines = new Map();

  function build() {
    lines = new Map();
    list.replaceChildren(
      ...shownOrder(store.get("classes")).map((key) => {
        const line = {
          value: make("span", { class: "value" }),
          flag: make("span", { class: "flag" }),
          area: make("span", { class: "area" }),
          bar: make("span", { class: "fill" }),
          point: make("span", { class: "point" }),
        };
        line.button = make(
          "button",
          {
            type: "button",
            class: "probability",
            "data-class": key,
            title: "Choose this class for the heat map",
            onclick: () => store.set({ heatClass: key }),
          },
          make("span", { class: "name" }, className(key)),
          line.flag,
          line.area,
          line.value,
          make("span", { class: "track", "aria-hidden": "true" }, line.bar, line.point),
        );
        lines.set(key, line);
        return make("li", {}, line.button);
      }),
    );
  }

  function write() {
    const series = store.get("study")?.series[store.get("series")];
    if (!series) return;
    const points = store.get("model")?.thresholds.slice ?? {};
    const values = series.probabilities[store.get("slice")];
    const areas = series.areas_mm2?.[store.get("slice")];
    for (const [key, line] of lines) {
      const value = values[store.get("classes").indexOf(key)];
      const point = points[key] ?? null;
      const above = isAbove(value, point);
      line.value.textContent = probabilityText(value);
      // All digits, for programs that read the page.
      line.button.dataset.probability = String(value);
      line.button.dataset.above = String(above);
      line.button.setAttribute("aria-pressed", String(key === store.get("heatClass")));
      line.flag.textContent = above ? "above" : "";
      line.area.textContent = areas ? areaText(areas[store.get("classes").indexOf(key)]) : "";
      line.bar.style.width = `${100 * value}%`;
      show(line.point, point !== null);
      if (point !== null) line.point.style.left = `${100 * point}%`;
      line.button.title =
        point === null
          ? `${className(key)}: no operating point`
          : `${className(key)}: operating point ${probabilityText(point)}`;
    }
    const none = shownOrder(store.get("classes")).every((key) => (points[key] ?? null) === null);
    byId("point-note").textContent = none
      ? "The model has no operating points: it was not calibrated on validation patients."
      : "The tick marks the operating point (Youden's, on validation patients). \u201cAbove\u201d is at or above it.";
  }

  store.on(["classes"], build);
  store.on(["study", "series", "slice", "model", "classes", "heatClass"], write);
}
