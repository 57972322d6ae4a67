// A pane's stage: a slice on a canvas under its heat map, its outlines and its measures.

import { slicePath } from "./api.js";
import { show } from "./dom.js";
import { listenToGestures } from "./gestures.js";
import { HeatLayer } from "./heat_layer.js";
import { pixelLoader } from "./loader.js";
import { isMeasure, MeasureLayer } from "./measure_layer.js";
import { OutlineLayer } from "./outline_layer.js";
import { paintOn } from "./paint.js";
import { meanOf, slabSlices } from "./slab.js";
import { StageNotes } from "./stage_notes.js";
import { moved, place, turnContext, WHOLE, zoomedAt } from "./view_transform.js";
import { bounded, limited, makeTable, paintGrey } from "./windowing.js";

// Number of slices that are fetched ahead in the direction of scrolling, and behind.
const AHEAD = 12;
const BEHIND = 4;
// Size of a pixel in CSS pixels from which pixels are shown as squares, not smoothed.
const SQUARES_FROM = 6;

export class Viewer {
  #pane;
  #onError;
  #stage;
  #canvas;
  #part;
  #notes;
  #pixels = pixelLoader();
  #heat;
  #outlines;
  #measures;
  #picture = document.createElement("canvas");
  #table = null;
  #tableOf = {};
  #slab = {}; // key and picture of the last slab
  #painted = null; // picture and table of the canvas' content
  #shown = null; // the picture on the stage: {hu, rows, columns}
  #pointer = null;
  #failed = null; // key of a slice that could not be fetched
  #direction = 1;
  #last = 0;
  #dragged = null; // window of a drag before it is rounded, and the rounded one

  // pane: the store as the pane sees it; onUse() is called when the stage is used, onError(error) with
  // errors of fetching slices.
  constructor(pane, stage, onUse, onError) {
    this.#pane = pane;
    this.#onError = onError;
    this.#stage = stage;
    this.#part = (name) => (name === "stage" ? stage : stage.querySelector(`[data-part="${name}"]`));
    this.#canvas = this.#part("canvas");
    this.#notes = new StageNotes(pane, this.#part);
    this.#heat = new HeatLayer(pane, this.#part("heat"), () => this.draw(), onError);
    this.#outlines = new OutlineLayer(pane, this.#part("outlines"), () => this.draw(), onError);
    this.#measures = new MeasureLayer(pane);
    const draws = ["study", "series", "slice", "window", "view", "turn", "isInverted", "slabMm"];
    draws.push("measured", "heatOn", "heatOpacity", "heatClass", "heatBelow");
    draws.push("outlinesOn", "outlinesHidden", "outlineOpacity", "outlineFill");
    pane.on(["study", "series"], () => this.#reset());
    pane.on(["study", "series", "slice", "slabMm"], () => this.#fetchAhead());
    pane.on(["study", "series", "slice", "heatOn", "heatClass", "heatBelow"], () => this.#fetchHeat());
    pane.on(["outlinesOn"], () => this.#fetchOutlines());
    pane.on(draws, () => this.draw());
    new ResizeObserver(() => this.draw()).observe(stage);
    stage.addEventListener("pointerdown", onUse, { capture: true });
    this.#canvas.addEventListener("focus", onUse);
    listenToGestures(this.#canvas, () => pane.get("tool"), {
      use: onUse,
      scroll: (by) => this.scrollBy(by),
      window: (dx, dy) => this.#drag(dx, dy),
      pan: (dx, dy) => this.panBy(dx, dy),
      zoom: (factor, x, y) => this.zoomBy(factor, x, y),
      reset: () => pane.set({ view: WHOLE }),
      press: (at) => this.#measure("press", at),
      release: (at) => this.#measure("release", at),
      hover: (point) => {
        this.#pointer = point;
        this.#writePointer();
        if (point && isMeasure(pane.get("tool"))) this.#measure("follow", point);
      },
    });
  }

  get #series() {
    return this.#pane.get("study")?.series[this.#pane.get("series")] ?? null;
  }

  get #placed() {
    const { clientWidth: stageWidth, clientHeight: stageHeight } = this.#stage;
    const [view, turn] = [this.#pane.get("view"), this.#pane.get("turn")];
    return { ...place(this.#series, view, turn, stageWidth, stageHeight), stageWidth, stageHeight };
  }

  #path(slice) {
    return slicePath(this.#pane.get("study").study_id, this.#pane.get("series"), slice);
  }

  #key(slice) {
    return `${this.#path(slice)}/pixels`;
  }

  focus() {
    this.#canvas.focus({ preventScroll: true });
  }

  scrollBy(by) {
    this.scrollTo(this.#pane.get("slice") + by);
  }

  scrollTo(slice) {
    if (!this.#series) return;
    this.#pane.set({ slice: Math.min(this.#series.num_slices - 1, Math.max(0, slice)) });
  }

  zoomBy(factor, x = 0, y = 0) {
    this.#pane.set({ view: zoomedAt(this.#pane.get("view"), factor, x, y) });
  }

  panBy(dx, dy) {
    const { clientWidth, clientHeight } = this.#stage;
    this.#pane.set({ view: moved(this.#pane.get("view"), dx, dy, clientWidth, clientHeight) });
  }

  #measure(phase, at) {
    if (this.#shown) this.#measures[phase](at, this.#shown, this.#placed);
  }

  // The keyboard's cross, with which points of a measure are set.
  moveCross(dx, dy) {
    if (this.#shown) this.#measures.moveCross(dx, dy, this.#shown, this.#placed, this.#stage);
  }

  setPoint() {
    if (this.#shown) this.#measures.setAtCross(this.#shown, this.#placed, this.#stage);
  }

  removeLastMeasure() {
    return this.#measures.removeLast();
  }

  // Removes all slices.
  clear() {
    this.#pixels.clear();
    this.#heat.clear();
    this.#outlines.clear();
    this.#measures.clear();
    this.#reset();
  }

  #reset() {
    this.#painted = this.#shown = this.#failed = null;
    this.#slab = {};
  }

  // To the right: wider. Down: a higher center, which is darker. Moves of single pixels add up to what
  // one long move gives: the fraction is kept.
  #drag(dx, dy) {
    const current = this.#pane.get("window");
    const { center, width } = this.#dragged?.rounded === current ? this.#dragged.exact : current;
    const step = Math.max(0.5, width / 300);
    const exact = bounded({ center: center + dy * step, width: width + dx * step });
    this.#dragged = { exact, rounded: limited(exact) };
    this.#pane.set({ window: this.#dragged.rounded });
  }

  #slabOf(slice) {
    return slabSlices(this.#series, slice, this.#pane.get("slabMm"));
  }

  // The slices that are shown and those around them, with the order in which they are wanted.
  #wanted() {
    const slice = this.#pane.get("slice");
    const wanted = new Map(this.#slabOf(slice).map((other) => [other, 0]));
    for (let i = 1; i <= AHEAD; i++) {
      for (const [step, most] of [[this.#direction, AHEAD], [-this.#direction, BEHIND]]) {
        const other = slice + i * step;
        if (i > most || other < 0 || other >= this.#series.num_slices) continue;
        if (!wanted.has(other)) wanted.set(other, i);
      }
    }
    return wanted;
  }

  #fetchAhead() {
    if (!this.#series) return;
    const slice = this.#pane.get("slice");
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
    if (this.#series) this.#heat.fetch(this.#path(this.#pane.get("slice")), this.#series);
  }

  // The picture of the slice or slab that is shown; null until all of it is there.
  #pictureOf(slice) {
    const keys = this.#slabOf(slice).map((other) => this.#key(other));
    if (keys.length === 1) return this.#pixels.peek(keys[0]) ?? null;
    const key = keys.join();
    if (this.#slab.key === key) return this.#slab.picture;
    const pictures = keys.map((one) => this.#pixels.peek(one));
    if (pictures.includes(undefined)) return null;
    this.#slab = { key, picture: meanOf(pictures) };
    return this.#slab.picture;
  }

  draw() {
    const series = this.#series;
    const { clientWidth: width, clientHeight: height } = this.#stage;
    if (!series || !width) return;
    const ratio = window.devicePixelRatio || 1;
    const canvas = this.#canvas;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    const placed = this.#placed;
    const slice = this.#pane.get("slice");
    this.#shown = this.#pictureOf(slice);
    // No picture rather than another slice's, which would mislead under this slice's numbers.
    const measures = this.#shown ? this.#drawSlice(context, series, slice, placed) : [];
    if (!series.areas_mm2) show(this.#part("outlines"), false);
    canvas.dataset.slice = this.#shown ? String(slice) : "";
    canvas.dataset.measures = measures.join("; ");
    const hasFailed = this.#slabOf(slice).some((other) => this.#failed === this.#key(other));
    const numInSlab = this.#slabOf(slice).length;
    this.#notes.write(series, { isShown: this.#shown !== null, hasFailed, numInSlab, placed, measures });
    this.#writePointer();
  }

  // Returns the texts of the slice's measures.
  #drawSlice(context, series, slice, placed) {
    this.#paint();
    context.save();
    const box = turnContext(context, placed);
    context.imageSmoothingEnabled = placed.width / this.#shown.columns < SQUARES_FROM;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.#picture, ...box);
    this.#canvas.dataset.heat = this.#heat.draw(context, box, this.#path(slice), series);
    const areas = series.areas_mm2?.[slice];
    const drawn = areas ? this.#outlines.draw(context, box, this.#path(slice), areas) : [];
    this.#canvas.dataset.outlines = drawn.join(" ");
    context.restore();
    return this.#measures.draw(context, series, this.#shown, placed);
  }

  #paint() {
    const [wanted, isInverted] = [this.#pane.get("window"), this.#pane.get("isInverted")];
    if (this.#tableOf.wanted !== wanted || this.#tableOf.isInverted !== isInverted) {
      this.#table = makeTable(wanted, isInverted);
      this.#tableOf = { wanted, isInverted };
    }
    if (this.#painted?.picture === this.#shown && this.#painted.table === this.#table) return;
    paintOn(this.#picture, this.#shown, (image) => paintGrey(this.#shown.hu, this.#table, image));
    this.#painted = { picture: this.#shown, table: this.#table };
  }

  #writePointer() {
    if (this.#series) this.#notes.writePointer(this.#shown, this.#placed, this.#pointer);
  }
}
