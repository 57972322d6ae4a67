// The masks over a slice: a line around each class, sharp at any zoom, and a fill of its pixels.

import { shownOrder } from "./classes.js";
import { show } from "./dom.js";
import { maskLoader } from "./loader.js";
import { classColour, makeFillTable, paintFill, traceOutline } from "./outlines.js";
import { paintOn } from "./paint.js";

const LINE = 2; // CSS pixels
// With a dark seam on both sides, so that a line is seen on white bone, too.
const SEAM = 3.75;
const FILL_OPACITY = 0.3;

export class OutlineLayer {
  #store;
  #note;
  #onChange;
  #onError;
  #masks = maskLoader();
  #canvas = document.createElement("canvas");
  #paths = new WeakMap(); // mask -> Map of bits and their outlines
  #painted = {}; // mask and classes of the canvas' content

  // store: as a pane sees it; note: element of the text about the outlines; onChange() is called when
  // a mask has come, onError(error) when it cannot be had.
  constructor(store, note, onChange, onError) {
    this.#store = store;
    this.#note = note;
    this.#onChange = onChange;
    this.#onError = onError;
  }

  // Requests the masks of slices, by their paths and priorities: 0 is the slice that is shown.
  fetch(priorities) {
    if (!this.#store.get("outlinesOn")) return;
    const keys = [...priorities].map(([path, priority]) => [`${path}/mask.png`, priority]);
    this.#masks.keepOnly(new Set(keys.map(([key]) => key)));
    for (const [key, priority] of keys) {
      const promise = this.#masks.get(key, priority);
      if (priority) continue;
      promise.then(this.#onChange, (error) => {
        if (error.name === "AbortError") return;
        this.#store.set({ outlinesOn: false });
        this.#onError(error);
      });
    }
  }

  clear() {
    this.#masks.clear();
    this.#painted = {};
  }

  // Draws the mask of a slice into a box of [left, top, width, height], if it is there; returns the
  // keys of the classes that are drawn. areas: area of each class in the slice, mm2.
  draw(context, box, path, areas) {
    const { on, classes, shown } = this.#chosen();
    const marked = classes.filter((key, k) => areas[k] > 0);
    this.#write(on, marked);
    if (!on || !marked.some((key) => shown.has(key))) return [];
    const mask = this.#masks.peek(`${path}/mask.png`);
    if (!mask) return [];
    const opacity = this.#store.get("outlineOpacity");
    if (this.#store.get("outlineFill")) this.#drawFill(context, box, mask, opacity);
    // `any` first: where a subtype has the same border, its line lies above.
    const drawn = shownOrder(classes).filter((key) => shown.has(key) && marked.includes(key));
    context.save();
    context.lineCap = "square";
    const [left, top, width, height] = box;
    const place = new DOMMatrix([width / mask.columns, 0, 0, height / mask.rows, left, top]);
    for (const key of drawn) {
      const line = new Path2D();
      line.addPath(this.#outline(mask, 1 << classes.indexOf(key)), place);
      context.globalAlpha = 0.55 * opacity;
      context.lineWidth = SEAM;
      context.strokeStyle = "#000";
      context.stroke(line);
      context.globalAlpha = opacity;
      context.lineWidth = LINE;
      context.strokeStyle = classColour(key);
      context.stroke(line);
    }
    context.restore();
    return drawn;
  }

  #chosen() {
    const classes = this.#store.get("classes");
    const hidden = this.#store.get("outlinesHidden");
    const shown = new Set(classes.filter((key) => !hidden.has(key)));
    return { on: this.#store.get("outlinesOn"), classes, shown };
  }

  #outline(mask, bit) {
    if (!this.#paths.has(mask)) this.#paths.set(mask, new Map());
    const paths = this.#paths.get(mask);
    if (!paths.has(bit)) paths.set(bit, traceOutline(mask, bit));
    return paths.get(bit);
  }

  #drawFill(context, box, mask, opacity) {
    const { classes, shown } = this.#chosen();
    const key = [...shown].join();
    if (this.#painted.mask !== mask || this.#painted.key !== key) {
      const table = makeFillTable(classes, shown);
      paintOn(this.#canvas, mask, (image) => paintFill(mask, table, image));
      this.#painted = { mask, key };
    }
    context.save();
    // Each pixel of the mask as it is: what is marked ends where the line is.
    context.imageSmoothingEnabled = false;
    context.globalAlpha = FILL_OPACITY * opacity;
    context.drawImage(this.#canvas, ...box);
    context.restore();
  }

  #write(on, marked) {
    show(this.#note, on);
    this.#note.textContent =
      "Segmentation by a model" + (marked.length ? "" : "\nnothing marked in this slice");
  }
}
