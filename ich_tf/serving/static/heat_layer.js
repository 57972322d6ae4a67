// The heat map over a slice: fetched when scrolling rests, painted on a canvas of the slice's pixels.

import { className } from "./classes.js";
import { byId, show } from "./dom.js";
import { makeHeatTable, paintHeat } from "./heat_colours.js";
import { heatLoader } from "./loader.js";
import { paintOn } from "./paint.js";

// A heat map takes the server some hundred ms, so that it is requested when scrolling rests.
const REST_MS = 150;

export class HeatLayer {
  #store;
  #onChange;
  #onError;
  #heats = heatLoader();
  #canvas = document.createElement("canvas");
  #table = makeHeatTable();
  #painted = null;
  #timer = 0;

  // onChange() is called when a heat map has come, onError(error) when it cannot be had.
  constructor(store, onChange, onError) {
    this.#store = store;
    this.#onChange = onChange;
    this.#onError = onError;
  }

  #key(path) {
    return `${path}/heatmaps/${encodeURIComponent(this.#store.get("heatClass"))}`;
  }

  // Requests the heat map of the slice at a path of the server, if heat maps are on.
  fetch(path) {
    clearTimeout(this.#timer);
    if (!this.#store.get("heatOn")) return;
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
  draw(context, box, path) {
    const on = this.#store.get("heatOn");
    const heat = on ? this.#heats.peek(this.#key(path)) : undefined;
    this.#store.set({ heatPeak: heat ? heat.peak : null });
    this.#write(on, heat);
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

  #write(on, heat) {
    show(byId("note-heat"), on);
    if (!on) return;
    const name = className(this.#store.get("heatClass"));
    byId("note-heat").textContent = heat
      ? `Heat map: ${name}\nattention, not segmentation\n${heat.explains}`
      : `Heat map: ${name}\ncomputing`;
  }
}
