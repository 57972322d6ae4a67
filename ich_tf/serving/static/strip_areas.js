// A row below the strip's probabilities: the area that the model marks in each slice.

import { className, shownOrder } from "./classes.js";
import { areaText, classColour } from "./outlines.js";

export const AREA_ROW = 46; // CSS pixels; the same as in style.css
const GAP = 5;
const GROUND = "#10161b";
const ANY = "rgb(223 231 236 / 0.34)";

// The greatest area of a series, by which its bars are scaled, mm2: of `any`, or of the subtypes
// above each other, which may overlap.
export function greatestArea(series, classes) {
  const any = classes.indexOf("any");
  return Math.max(
    ...series.areas_mm2.map((areas) => Math.max(areas[any], subtypeSum(areas, classes))),
  );
}

function subtypeSum(areas, classes) {
  return areas.reduce((sum, area, k) => (classes[k] === "any" ? sum : sum + area), 0);
}

// Draws the row at `top`: `any` as a pale bar, subtypes above each other in their colours. hidden: keys
// of the classes whose outlines are switched off.
export function drawAreas(context, series, classes, hidden, { top, width, gap }) {
  const most = AREA_ROW - GAP;
  const bottom = top + AREA_ROW;
  const step = width / series.num_slices;
  const greatest = greatestArea(series, classes);
  context.fillStyle = GROUND;
  context.fillRect(0, bottom - most, width, most);
  if (!greatest) return;
  const bar = (i, from, area, colour) => {
    if (!area) return;
    const high = Math.max(1, (area / greatest) * most);
    context.fillStyle = colour;
    context.fillRect(i * step + gap / 2, bottom - (from / greatest) * most - high, Math.max(1, step - gap), high);
  };
  series.areas_mm2.forEach((areas, i) => {
    if (!hidden.has("any")) bar(i, 0, areas[classes.indexOf("any")], ANY);
    let from = 0;
    classes.forEach((key, k) => {
      if (key === "any" || hidden.has(key)) return;
      bar(i, from, areas[k], classColour(key));
      from += areas[k];
    });
  });
}

// "slice 3: any hemorrhage 3.2 cm², subdural 3.1 cm²".
export function areasText(series, classes, slice) {
  const areas = series.areas_mm2[slice];
  const found = shownOrder(classes).filter((key) => areas[classes.indexOf(key)] > 0);
  const texts = found.map((key) => `${className(key).toLowerCase()} ${areaText(areas[classes.indexOf(key)])}`);
  return texts.join(", ") || "nothing marked";
}
