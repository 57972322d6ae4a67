// The probabilities along the series: a row for each class, a bar for each slice, a dashed line at
// the class's operating point; and the areas of its masks. A click, a drag or a key selects a slice.

import { className, isAbove, probabilityText, shownOrder } from "./classes.js";
import { byId, make, show } from "./dom.js";
import { hasMasks } from "./outline_controls.js";
import { areaText } from "./outlines.js";
import { AREA_ROW, areasText, drawAreas, greatestArea } from "./strip_areas.js";

const ROW = 24; // CSS pixels; the same as in style.css
const GAP = 3;
const COLOURS = {
  row: "#10161b",
  chosenRow: "#16202a",
  below: "#5f7c90",
  above: "#f0b04a",
  point: "#8fa1af",
  cursor: "#e8f4f7",
  cursorFill: "rgb(99 199 214 / 0.20)",
};

export function makeStrip(store, panes) {
  const strip = byId("strip");
  const canvas = byId("strip-canvas");
  const tip = byId("strip-tip");

  const currentSeries = () => store.get("study")?.series[store.get("series")] ?? null;
  const rows = () => shownOrder(store.get("classes"));

  function draw() {
    const series = currentSeries();
    const width = strip.clientWidth;
    if (!series || !width) return;
    const ratio = window.devicePixelRatio || 1;
    const order = rows();
    const height = order.length * ROW + (hasMasks(store) ? AREA_ROW : 0);
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const step = width / series.num_slices;
    const gap = step > 6 ? 1.5 : step > 3 ? 0.5 : 0;
    const points = store.get("model")?.thresholds.slice ?? {};
    order.forEach((key, row) => {
      const column = store.get("classes").indexOf(key);
      const bottom = (row + 1) * ROW;
      const most = ROW - GAP;
      context.fillStyle = key === store.get("heatClass") ? COLOURS.chosenRow : COLOURS.row;
      context.fillRect(0, bottom - most, width, most);
      const point = points[key] ?? null;
      series.probabilities.forEach((values, i) => {
        const value = values[column];
        const high = Math.max(1, value * most);
        context.fillStyle = isAbove(value, point) ? COLOURS.above : COLOURS.below;
        context.fillRect(i * step + gap / 2, bottom - high, Math.max(1, step - gap), high);
      });
      if (point !== null) {
        context.strokeStyle = COLOURS.point;
        context.lineWidth = 1;
        context.setLineDash([3, 4]);
        context.beginPath();
        const y = Math.round(bottom - point * most) + 0.5;
        context.moveTo(0, y);
        context.lineTo(width, y);
        context.stroke();
        context.setLineDash([]);
      }
    });
    if (hasMasks(store)) {
      const hidden = store.get("outlinesHidden");
      drawAreas(context, series, store.get("classes"), hidden, { top: order.length * ROW, width, gap });
    }
    const slice = store.get("slice");
    const wide = Math.max(step, 3);
    const left = Math.min(width - wide, slice * step + step / 2 - wide / 2);
    context.fillStyle = COLOURS.cursorFill;
    context.fillRect(left, 0, wide, height);
    context.strokeStyle = COLOURS.cursor;
    context.strokeRect(left + 0.5, 0.5, Math.max(1, wide - 1), height - 1);
  }

  function write() {
    const series = currentSeries();
    if (!series) return;
    const points = store.get("model")?.thresholds.slice ?? {};
    const slice = store.get("slice");
    const values = series.probabilities[slice];
    const above = rows()
      .filter((key) => isAbove(values[store.get("classes").indexOf(key)], points[key]))
      .map((key) => className(key));
    const any = values[store.get("classes").indexOf("any")];
    strip.setAttribute("aria-valuemin", "1");
    strip.setAttribute("aria-valuemax", String(series.num_slices));
    strip.setAttribute("aria-valuenow", String(slice + 1));
    const text =
      `Slice ${slice + 1} of ${series.num_slices}. Any hemorrhage ${probabilityText(any)}. ` +
      (above.length ? `At or above the operating point: ${above.join(", ")}. ` : "") +
      (hasMasks(store) ? `Area: ${areasText(series, store.get("classes"), slice)}.` : "");
    strip.setAttribute("aria-valuetext", text.trim());
    const slider = byId("slice");
    slider.max = series.num_slices - 1;
    slider.value = slice;
    slider.setAttribute("aria-valuetext", text.trim());
  }

  function names() {
    const masks = hasMasks(store);
    byId("strip").parentElement.classList.toggle("with-areas", masks);
    const area = masks ? greatestArea(currentSeries(), store.get("classes")) : 0;
    byId("strip-names").replaceChildren(
      ...rows().map((key) =>
        make("span", { class: key === store.get("heatClass") ? "chosen" : null }, className(key)),
      ),
      ...(masks ? [make("span", {}, "Area", make("small", {}, `up to ${areaText(area)}`))] : []),
    );
  }

  const sliceAt = (event) => {
    const box = strip.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    return Math.min(currentSeries().num_slices - 1, Math.max(0, Math.floor(share * currentSeries().num_slices)));
  };
  const rowAt = (event) => {
    const row = Math.max(0, Math.floor((event.clientY - strip.getBoundingClientRect().top) / ROW));
    if (row >= rows().length && hasMasks(store)) return null; // the areas
    return rows()[Math.min(rows().length - 1, row)];
  };

  function hover(event) {
    const series = currentSeries();
    if (!series) return;
    const [slice, key] = [sliceAt(event), rowAt(event)];
    const value = series.probabilities[slice][store.get("classes").indexOf(key)];
    tip.textContent =
      key === null
        ? `Slice ${slice + 1}: ${areasText(series, store.get("classes"), slice)}`
        : `${className(key)}, slice ${slice + 1}: ${probabilityText(value)}`;
    show(tip, true);
    const x = event.clientX - strip.getBoundingClientRect().left;
    tip.style.left = `${Math.min(strip.clientWidth - tip.offsetWidth, Math.max(0, x + 12))}px`;
  }

  strip.addEventListener("pointerdown", (event) => {
    if (!currentSeries()) return;
    strip.setPointerCapture(event.pointerId);
    panes.viewer.scrollTo(sliceAt(event));
    const key = rowAt(event);
    if (key !== null) store.set({ heatClass: key });
  });
  strip.addEventListener("pointermove", (event) => {
    if (!currentSeries()) return;
    if (event.buttons & 1) panes.viewer.scrollTo(sliceAt(event));
    hover(event);
  });
  strip.addEventListener("pointerleave", () => show(tip, false));
  byId("slice").addEventListener("input", (event) =>
    panes.viewer.scrollTo(event.target.valueAsNumber),
  );

  store.on(["study", "series", "slice", "heatClass", "model", "outlinesHidden"], draw);
  store.on(["study", "series", "slice", "model"], write);
  store.on(["study", "series", "heatClass", "classes"], names);
  new ResizeObserver(draw).observe(strip);
}
