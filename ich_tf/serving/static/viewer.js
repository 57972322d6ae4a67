// The stage: a slice on a canvas under its heat map, with notes in its corners.

import { slicePath } from "./api.js";
import { className, probabilityText } from "./classes.js";
import { byId, show } from "./dom.js";
import { listenToGestures } from "./gestures.js";
import { makeHeatTable, paintHeat } from "./heat_colours.js";
import { heatLoader, pixelLoader } from "./loader.js";
import { moved, pixelAt, place, scaleBarMm, WHOLE, zoomedAt } from "./view_transform.js";
import { limited, makeTable, paintGrey, presetOf } from "./windowing.js";

// Number of slices that are fetched ahead in the direction of scrolling, and behind.
const AHEAD = 12;
const BEHIND = 4;
// A heat map takes the server some hundred ms, so that it is requested when scrolling rests.
const HEAT_REST_MS = 150;
// Size of a pixel in CSS pixels from which pixels are shown as squares, not smoothed.
const SQUARES_FROM = 6;

export class Viewer {
  #store;
  #onError;
  #canvas = byId("canvas");
  #stage = byId("stage");
  #pixels = pixelLoader();
  #heats = heatLoader();
  #picture = document.createElement("canvas");
  #heat = document.createElement("canvas");
  #heatTable = makeHeatTable();
  #table = null;
  #tableOf = null;
  #painted = null; // key and table of the picture's content
  #heatPainted = null;
  #shown = null; // the slice on the stage, a value of the loader
  #pointer = null;
  #failed = null; // key of a slice that could not be fetched
  #direction = 1;
  #last = 0;
  #heatTimer = 0;

  // onError(error) is called with errors of fetching slices.
  constructor(store, onError) {
    this.#store = store;
    this.#onError = onError;
    const draws = ["study", "series", "slice", "window", "view", "heatOn", "heatOpacity", "heatClass"];
    store.on(["study", "series"], () => this.#reset());
    store.on(["study", "series", "slice"], () => this.#fetchAhead());
    store.on(["study", "series", "slice", "heatOn", "heatClass"], () => this.#fetchHeat());
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

  #key(slice) {
    return `${slicePath(this.#store.get("study").study_id, this.#store.get("series"), slice)}/pixels`;
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
    this.#heats.clear();
    this.#painted = this.#heatPainted = this.#shown = this.#failed = null;
  }

  #reset() {
    this.#painted = this.#heatPainted = this.#shown = this.#failed = null;
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

  #fetchAhead() {
    const series = this.#series;
    if (!series) return;
    const slice = this.#store.get("slice");
    if (slice !== this.#last) this.#direction = Math.sign(slice - this.#last);
    this.#last = slice;
    const wanted = new Map([[this.#key(slice), 0]]);
    for (let i = 1; i <= AHEAD; i++) {
      for (const [step, most] of [[this.#direction, AHEAD], [-this.#direction, BEHIND]]) {
        const other = slice + i * step;
        if (i <= most && other >= 0 && other < series.num_slices) wanted.set(this.#key(other), i);
      }
    }
    this.#pixels.keepOnly(new Set(wanted.keys()));
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

  // Requests again a slice or heat map that failed.
  retry() {
    this.#failed = null;
    this.#fetchAhead();
    this.#fetchHeat();
    this.draw();
  }

  #heatKey() {
    const { study_id: id } = this.#store.get("study");
    const path = slicePath(id, this.#store.get("series"), this.#store.get("slice"));
    return `${path}/heatmaps/${encodeURIComponent(this.#store.get("heatClass"))}`;
  }

  #fetchHeat() {
    clearTimeout(this.#heatTimer);
    if (!this.#series || !this.#store.get("heatOn")) return;
    const key = this.#heatKey();
    this.#heats.keepOnly(new Set([key]));
    if (this.#heats.peek(key)) return;
    this.#heatTimer = setTimeout(() => {
      this.#heats.get(key).then(
        () => this.draw(),
        (error) => {
          if (error.name === "AbortError") return;
          this.#store.set({ heatOn: false });
          this.#onError(error);
        },
      );
    }, HEAT_REST_MS);
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
    const key = this.#key(this.#store.get("slice"));
    this.#shown = this.#pixels.peek(key) ?? null;
    // No picture rather than another slice's, which would mislead under this slice's numbers.
    if (this.#shown) {
      this.#paint(key);
      context.imageSmoothingEnabled = placed.width / this.#shown.columns < SQUARES_FROM;
      context.imageSmoothingQuality = "high";
      const box = [placed.left, placed.top, placed.width, placed.height];
      context.drawImage(this.#picture, ...box);
      if (this.#paintHeat()) {
        context.globalAlpha = this.#store.get("heatOpacity");
        context.drawImage(this.#heat, ...box);
        context.globalAlpha = 1;
      }
    }
    this.#canvas.dataset.slice = this.#shown ? String(this.#store.get("slice")) : "";
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

  // Paints the heat map; returns whether there is one to draw over the slice.
  #paintHeat() {
    const on = this.#store.get("heatOn");
    const heat = on ? this.#heats.peek(this.#heatKey()) : undefined;
    this.#store.set({ heatPeak: heat ? heat.peak : null });
    this.#canvas.dataset.heat = heat ? this.#store.get("heatClass") : "";
    show(byId("note-heat"), on);
    if (on) {
      const name = className(this.#store.get("heatClass"));
      byId("note-heat").textContent = heat
        ? `Heat map: ${name}\nattention, not segmentation\n${heat.explains}`
        : `Heat map: ${name}\ncomputing`;
    }
    if (!heat) return false;
    if (this.#heatPainted !== heat) {
      paintOn(this.#heat, heat, (image) => paintHeat(heat.heat, this.#heatTable, image));
      this.#heatPainted = heat;
    }
    return true;
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
    const any = series.probabilities[slice][this.#store.get("classes").indexOf("any")];
    this.#canvas.setAttribute(
      "aria-label",
      `CT slice ${slice + 1} of ${series.num_slices}, window center ${center}, width ${width}. ` +
        `Any hemorrhage ${probabilityText(any)}.`,
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

// Makes a canvas as large as a slice; write(image) writes its pixels.
function paintOn(canvas, { rows, columns }, write) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  write(image);
  context.putImageData(image, 0, 0);
}
