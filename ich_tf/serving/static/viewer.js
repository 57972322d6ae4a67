// The stage: a slice on a canvas under its heat map and its outlines, with notes in its corners.

import { slicePath } from "./api.js";
import { probabilityText } from "./classes.js";
import { byId, show } from "./dom.js";
import { listenToGestures } from "./gestures.js";
import { HeatLayer } from "./heat_layer.js";
import { pixelLoader } from "./loader.js";
import { OutlineLayer } from "./outline_layer.js";
import { areaText } from "./outlines.js";
import { paintOn } from "./paint.js";
import { moved, pixelAt, place, scaleBarMm, WHOLE, zoomedAt } from "./view_transform.js";
import { limited, makeTable, paintGrey, presetOf } from "./windowing.js";

// Number of slices that are fetched ahead in the direction of scrolling, and behind.
const AHEAD = 12;
const BEHIND = 4;
// Size of a pixel in CSS pixels from which pixels are shown as squares, not smoothed.
const SQUARES_FROM = 6;

export class Viewer {
  #store;
  #onError;
  #canvas = byId("canvas");
  #stage = byId("stage");
  #pixels = pixelLoader();
  #heat;
  #outlines;
  #picture = document.createElement("canvas");
  #table = null;
  #tableOf = null;
  #painted = null; // key and table of the picture's content
  #shown = null; // the slice on the stage, a value of the loader
  #pointer = null;
  #failed = null; // key of a slice that could not be fetched
  #direction = 1;
  #last = 0;

  // onError(error) is called with errors of fetching slices.
  constructor(store, onError) {
    this.#store = store;
    this.#onError = onError;
    this.#heat = new HeatLayer(store, () => this.draw(), onError);
    this.#outlines = new OutlineLayer(store, () => this.draw(), onError);
    const draws = ["study", "series", "slice", "window", "view", "heatOn", "heatOpacity", "heatClass"];
    draws.push("outlinesOn", "outlinesHidden", "outlineOpacity", "outlineFill");
    store.on(["study", "series"], () => this.#reset());
    store.on(["study", "series", "slice"], () => this.#fetchAhead());
    store.on(["study", "series", "slice", "heatOn", "heatClass"], () => this.#fetchHeat());
    store.on(["outlinesOn"], () => this.#fetchOutlines());
    store.on(draws, () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.#stage);
    listenToGestures(this.#canvas, () => store.get("tool"), {
      scroll: (by) => this.scrollBy(by),
      window: (dx, dy) => this.#drag(dx, dy),
      pan: (dx, dy) => this.panBy(dx, dy),
      zoom: (factor, x, y) => this.zoomBy(factor, x, y),
      reset: () => store.set({ view: WHOLE }),
      hover: (point) => {
        this.#pointer = point;
        this.#writePointer();
      },
    });
  }

  get #series() {
    return this.#store.get("study")?.series[this.#store.get("series")] ?? null;
  }

  #path(slice) {
    return slicePath(this.#store.get("study").study_id, this.#store.get("series"), slice);
  }

  #key(slice) {
    return `${this.#path(slice)}/pixels`;
  }

  scrollBy(by) {
    this.scrollTo(this.#store.get("slice") + by);
  }

  scrollTo(slice) {
    if (!this.#series) return;
    this.#store.set({ slice: Math.min(this.#series.num_slices - 1, Math.max(0, slice)) });
  }

  zoomBy(factor, x = 0, y = 0) {
    this.#store.set({ view: zoomedAt(this.#store.get("view"), factor, x, y) });
  }

  panBy(dx, dy) {
    const { clientWidth, clientHeight } = this.#stage;
    this.#store.set({ view: moved(this.#store.get("view"), dx, dy, clientWidth, clientHeight) });
  }

  // Removes all slices.
  clear() {
    this.#pixels.clear();
    this.#heat.clear();
    this.#outlines.clear();
    this.#painted = this.#shown = this.#failed = null;
  }

  #reset() {
    this.#painted = this.#shown = this.#failed = null;
    const series = this.#series;
    if (!series) return;
    for (const side of ["top", "right", "bottom", "left"]) {
      byId(`mark-${side}`).textContent = series.orientation[side];
    }
  }

  // To the right: wider. Down: a higher center, which is darker.
  #drag(dx, dy) {
    const { center, width } = this.#store.get("window");
    const step = Math.max(0.5, width / 300);
    this.#store.set({ window: limited({ center: center + dy * step, width: width + dx * step }) });
  }

  // The slice that is shown and those around it, with the order in which they are wanted.
  #wanted() {
    const slice = this.#store.get("slice");
    const wanted = new Map([[slice, 0]]);
    for (let i = 1; i <= AHEAD; i++) {
      for (const [step, most] of [[this.#direction, AHEAD], [-this.#direction, BEHIND]]) {
        const other = slice + i * step;
        if (i <= most && other >= 0 && other < this.#series.num_slices) wanted.set(other, i);
      }
    }
    return wanted;
  }

  #fetchAhead() {
    if (!this.#series) return;
    const slice = this.#store.get("slice");
    if (slice !== this.#last) this.#direction = Math.sign(slice - this.#last);
    this.#last = slice;
    const wanted = new Map([...this.#wanted()].map(([other, i]) => [this.#key(other), i]));
    this.#pixels.keepOnly(new Set(wanted.keys()));
    this.#fetchOutlines();
    for (const [key, priority] of wanted) {
      if (this.#failed === key && priority) continue;
      const promise = this.#pixels.get(key, priority);
      if (!priority) promise.then(() => this.draw(), (error) => this.#fail(key, error));
    }
  }

  #fail(key, error) {
    if (error.name === "AbortError") return;
    this.#failed = key;
    this.draw();
    this.#onError(error);
  }

  // Masks of slices without a mark are not asked for.
  #fetchOutlines() {
    const areas = this.#series?.areas_mm2;
    if (!areas) return;
    const marked = [...this.#wanted()].filter(([slice]) => areas[slice].some((area) => area > 0));
    this.#outlines.fetch(new Map(marked.map(([slice, i]) => [this.#path(slice), i])));
  }

  // Requests again a slice or heat map that failed.
  retry() {
    this.#failed = null;
    this.#fetchAhead();
    this.#fetchHeat();
    this.draw();
  }

  #fetchHeat() {
    if (this.#series) this.#heat.fetch(this.#path(this.#store.get("slice")));
  }

  draw() {
    const series = this.#series;
    if (!series || !this.#stage.clientWidth) return;
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.#stage;
    const canvas = this.#canvas;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    const placed = place(series, this.#store.get("view"), width, height);
    const slice = this.#store.get("slice");
    const key = this.#key(slice);
    this.#shown = this.#pixels.peek(key) ?? null;
    // No picture rather than another slice's, which would mislead under this slice's numbers.
    if (this.#shown) {
      this.#paint(key);
      context.imageSmoothingEnabled = placed.width / this.#shown.columns < SQUARES_FROM;
      context.imageSmoothingQuality = "high";
      const box = [placed.left, placed.top, placed.width, placed.height];
      context.drawImage(this.#picture, ...box);
      this.#canvas.dataset.heat = this.#heat.draw(context, box, this.#path(slice));
      const areas = series.areas_mm2?.[slice];
      const drawn = areas ? this.#outlines.draw(context, box, this.#path(slice), areas) : [];
      this.#canvas.dataset.outlines = drawn.join(" ");
    }
    if (!series.areas_mm2) show(byId("note-outlines"), false);
    this.#canvas.dataset.slice = this.#shown ? String(slice) : "";
    this.#write(series, placed);
    this.#writePointer();
  }

  #paint(key) {
    const wanted = this.#store.get("window");
    if (this.#tableOf !== wanted) {
      this.#table = makeTable(wanted);
      this.#tableOf = wanted;
    }
    if (this.#painted?.key === key && this.#painted.table === this.#table) return;
    paintOn(this.#picture, this.#shown, (image) => paintGrey(this.#shown.hu, this.#table, image));
    this.#painted = { key, table: this.#table };
  }

  #write(series, placed) {
    const slice = this.#store.get("slice");
    const { center, width } = this.#store.get("window");
    const preset = presetOf({ center, width });
    byId("note-slice").textContent = `Slice ${slice + 1} / ${series.num_slices}`;
    byId("note-place").textContent = `z ${series.z_mm[slice].toFixed(1)} mm`;
    byId("note-window").textContent = `${preset ? `${preset.name}  ` : ""}C ${center}  W ${width}`;
    byId("note-zoom").textContent = `${this.#store.get("view").zoom.toFixed(1)}x`;
    const mm = scaleBarMm(placed.scale, 200);
    byId("note-scale").textContent = mm >= 10 ? `${mm / 10} cm` : `${mm} mm`;
    byId("scale-bar").style.width = `${mm * placed.scale}px`;
    const text = byId("stage-text");
    show(text, !this.#shown);
    text.textContent =
      this.#failed === this.#key(slice)
        ? `Slice ${slice + 1} could not be fetched.`
        : `Loading slice ${slice + 1}`;
    const k = this.#store.get("classes").indexOf("any");
    const areas = series.areas_mm2?.[slice];
    this.#canvas.setAttribute(
      "aria-label",
      `CT slice ${slice + 1} of ${series.num_slices}, window center ${center}, width ${width}. ` +
        `Any hemorrhage ${probabilityText(series.probabilities[slice][k])}.` +
        (areas ? ` Marked by the model: ${areaText(areas[k])}.` : ""),
    );
  }

  #writePointer() {
    const series = this.#series;
    const note = byId("note-hu");
    note.textContent = "";
    if (!series || !this.#pointer || !this.#shown) return;
    const { clientWidth, clientHeight } = this.#stage;
    const placed = place(series, this.#store.get("view"), clientWidth, clientHeight);
    const pixel = pixelAt(this.#shown, placed, this.#pointer.x, this.#pointer.y);
    if (!pixel) return;
    const [column, row] = pixel;
    note.textContent = `${this.#shown.hu[row * this.#shown.columns + column]} HU   column ${column}, row ${row}`;
  }
}
