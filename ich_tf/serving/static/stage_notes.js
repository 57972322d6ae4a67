// The texts in the corners of a stage: slice, place, window, zoom, scale, and what is under the pointer.

import { probabilityText } from "./classes.js";
import { show } from "./dom.js";
import { areaText } from "./outlines.js";
import { isUpright, marksOf } from "./turn.js";
import { pixelAt, scaleBarMm } from "./view_transform.js";
import { presetOf } from "./windowing.js";

export class StageNotes {
  #pane;
  #part;

  // part(name): the element of the stage with that data-part.
  constructor(pane, part) {
    this.#pane = pane;
    this.#part = part;
  }

  // Writes all but the pointer's. state: {isShown, hasFailed, numInSlab, placed, measures}.
  write(series, { isShown, hasFailed, numInSlab, placed, measures }) {
    const pane = this.#pane;
    const slice = pane.get("slice");
    const { center, width } = pane.get("window");
    const preset = presetOf({ center, width });
    const turn = pane.get("turn");
    const set = (name, text) => {
      this.#part(name).textContent = text;
    };
    set("slice", `Slice ${slice + 1} / ${series.num_slices}`);
    set("place", `z ${series.z_mm[slice].toFixed(1)} mm`);
    show(this.#part("slab"), numInSlab > 1);
    set("slab", `Slab ${pane.get("slabMm")} mm: mean of ${numInSlab} slices`);
    set("window", `${preset ? `${preset.name}  ` : ""}C ${center}  W ${width}`);
    set("zoom", `${pane.get("view").zoom.toFixed(1)}x`);
    const changes = [];
    if (pane.get("isInverted")) changes.push("inverted");
    if (turn.isMirrored) changes.push("mirrored");
    if (turn.quarters) changes.push(`turned ${90 * turn.quarters}\u00b0`);
    set("turn", changes.join(", "));
    const marks = marksOf(series.orientation, turn);
    for (const side of ["top", "right", "bottom", "left"]) set(`mark-${side}`, marks[side]);
    this.#part("stage").classList.toggle("is-turned", !isUpright(turn));
    // Half a narrow pane less the mark in its middle.
    const mm = scaleBarMm(placed.scale, Math.min(200, placed.stageWidth / 2 - 32));
    set("scale", mm >= 10 ? `${mm / 10} cm` : `${mm} mm`);
    this.#part("scale-bar").style.width = `${mm * placed.scale}px`;
    show(this.#part("text"), !isShown);
    set("text", hasFailed ? `Slice ${slice + 1} could not be fetched.` : `Loading slice ${slice + 1}`);
    const k = pane.get("classes").indexOf("any");
    const areas = series.areas_mm2?.[slice];
    this.#part("canvas").setAttribute(
      "aria-label",
      `CT slice ${slice + 1} of ${series.num_slices}, window center ${center}, width ${width}. ` +
        `Any hemorrhage ${probabilityText(series.probabilities[slice][k])}.` +
        (areas ? ` Marked by the model: ${areaText(areas[k])}.` : "") +
        (changes.length ? ` Shown ${changes.join(", ")}.` : "") +
        (measures.length ? ` Measured: ${measures.join("; ")}.` : ""),
    );
  }

  // The Hounsfield units under a point of the stage; nothing without a picture.
  writePointer(picture, placed, point) {
    const pixel = picture && point ? pixelAt(picture, placed, point.x, point.y) : null;
    const [column, row] = pixel ?? [];
    this.#part("hu").textContent = pixel
      ? `${picture.hu[row * picture.columns + column]} HU   column ${column}, row ${row}`
      : "";
  }
}
