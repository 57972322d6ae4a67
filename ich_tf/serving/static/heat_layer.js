// The heat map over a slice: fetched when scrolling rests, painted on a canvas of the slice's pixels.
// Its colours have one scale a model, so that a slice without a bleed does not glow like one with it.

import { className, isAbove } from "./classes.js";
import { show } from "./dom.js";
import { makeHeatTable, paintHeat } from "./heat_colours.js";
import { heatLoader } from "./loader.js";
import { paintOn } from "./paint.js";

// A heat map takes the server some hundred ms, so that it is requested when scrolling rests.
const REST_MS = 150;

export class HeatLayer {
  #store;
  #note;
  #onChange;
  #onError;
  #heats = heatLoader();
  #canvas = document.createElement("canvas");
  #table = makeHeatTable();
  #painted = null;
  #timer = 0;

  // store: as a pane sees it; note: element of the text about the heat map; onChange() is called when
  // a heat map has come, onError(error) when it cannot be had.
  constructor(store, note, onChange, onError) {
    this.#store = store;
    this.#note = note;
    this.#onChange = onChange;
    this.#onError = onError;
  }

  #key(path) {
    return `${path}/heatmaps/${encodeURIComponent(this.#store.get("heatClass"))}`;
  }

  // Whether the slice's probability lies below the operating point, and such maps are not asked for.
  #isBelow(series) {
    if (this.#store.get("heatBelow")) return false;
    const key = this.#store.get("heatClass");
    const points = this.#store.get("model")?.thresholds.slice ?? {};
    const values = series.probabilities[this.#store.get("slice")];
    return isAbove(values[this.#store.get("classes").indexOf(key)], points[key]) === false;
  }

  // Requests the heat map of the slice at a path of the server, if heat maps are on.
  fetch(path, series) {
    clearTimeout(this.#timer);
    if (!this.#store.get("heatOn") || this.#isBelow(series)) return;
    const key = this.#key(path);
    this.#heats.keepOnly(new Set([key]));
    if (this.#heats.peek(key)) return;
    this.#timer = setTimeout(() => {
      this.#heats.get(key).then(this.#onChange, (error) => {
        if (error.name === "AbortError") return;
        this.#store.set({ heatOn: false });
        this.#onError(error);
      });
    }, REST_MS);
  }

  clear() {
    clearTimeout(this.#timer);
    this.#heats.clear();
    this.#painted = null;
  }

  // Draws the heat map of a slice into a box of [left, top, width, height], if it is there; returns
  // the class that is drawn, or "".
  draw(context, box, path, series) {
    const on = this.#store.get("heatOn");
    const isBelow = on && this.#isBelow(series);
    const heat = on && !isBelow ? this.#heats.peek(this.#key(path)) : undefined;
    this.#store.set({ heat: heat ?? null });
    this.#write(on, isBelow, heat);
    if (!heat) return "";
    if (this.#painted !== heat) {
      paintOn(this.#canvas, heat, (image) => paintHeat(heat.heat, this.#table, image));
      this.#painted = heat;
    }
    context.globalAlpha = this.#store.get("heatOpacity");
    context.drawImage(this.#canvas, ...box);
    context.globalAlpha = 1;
    return this.#store.get("heatClass");
  }

  #write(on, isBelow, heat) {
    show(this.#note, on);
    if (!on) return;
    const name = className(this.#store.get("heatClass"));
    let text = "computing";
    if (isBelow) text = "below the operating point: not drawn";
    else if (heat) text = `attention, not segmentation\n${heat.explains}`;
    this.#note.textContent = `Heat map: ${name}\n${text}`;
  }
}
