// The panes: one stage, or two side by side of which one is active. What is chosen elsewhere on the
// page (series, slice, window, tools) belongs to the active one.

import { byId, show } from "./dom.js";
import { Viewer } from "./viewer.js";
import { WHOLE } from "./view_transform.js";

export class Panes {
  #store;
  #stages;
  #viewers;

  // onError(error) is called with errors of fetching slices.
  constructor(store, onError) {
    this.#store = store;
    const first = byId("stage");
    const second = first.cloneNode(true);
    for (const element of [second, ...second.querySelectorAll("[id]")]) element.id += "-2";
    first.after(second);
    this.#stages = [first, second];
    this.#viewers = this.#stages.map(
      (stage, i) => new Viewer(store.pane(i), stage, () => this.activate(i), onError),
    );
    store.on(["isDouble", "active"], () => this.#show());
    store.on(["active"], () => store.set({ isPlaying: false }));
    for (const i of [0, 1]) store.pane(i).on(["slice", "series"], () => this.#follow(i));
    store.on(["isLinked"], () => this.#follow(store.get("active")));
    this.#show();
  }

  // The viewer of the active pane.
  get viewer() {
    return this.#viewers[this.#store.get("active")];
  }

  activate(index) {
    if (this.#store.get("isDouble")) this.#store.set({ active: index });
  }

  // Opens the second pane with the next series, or the same one in a study of one; or closes it.
  toggleDouble() {
    const store = this.#store;
    const study = store.get("study");
    if (!study) return;
    if (store.get("isDouble")) {
      store.set({ isDouble: false });
      // What was active stays, in the only pane that is left.
      const values = Object.fromEntries(OF_PANE.map((name) => [name, store.get(name)]));
      store.pane(0).set(values);
      store.set({ active: 0 });
      return;
    }
    const series = (store.get("series") + 1) % study.series.length;
    const [first, second] = [store.pane(0), store.pane(1)];
    const isSame = series === first.get("series");
    second.set({
      series,
      slice: isSame ? first.get("slice") : study.series[series].summary.most_suspicious.any,
      window: isSame ? { center: 600, width: 2800 } : first.get("window"),
      view: WHOLE,
      turn: first.get("turn"),
      isInverted: false,
      slabMm: 0,
    });
    store.set({ isDouble: true });
    this.#follow(0);
  }

  // Lets the other pane show the slice at the same place of the body, if they are linked.
  #follow(index) {
    const store = this.#store;
    if (!store.get("isDouble") || !store.get("isLinked") || store.get("active") !== index) return;
    const [from, to] = [store.pane(index), store.pane(1 - index)];
    const study = store.get("study");
    const [source, target] = [study?.series[from.get("series")], study?.series[to.get("series")]];
    if (!source || !target || !isAlike(source, target)) return;
    const z = source.z_mm[from.get("slice")];
    const distances = target.z_mm.map((other) => Math.abs(other - z));
    to.set({ slice: distances.indexOf(Math.min(...distances)) });
  }

  #show() {
    const isDouble = this.#store.get("isDouble");
    byId("panes").classList.toggle("is-double", isDouble);
    show(this.#stages[1], isDouble);
    this.#stages.forEach((stage, i) => {
      stage.classList.toggle("is-active", isDouble && i === this.#store.get("active"));
    });
  }

  draw() {
    for (const viewer of this.#viewers) viewer.draw();
  }

  retry() {
    for (const viewer of this.#viewers) viewer.retry();
  }

  // Removes all slices and measures, and closes the second pane.
  clear() {
    this.#store.set({ isDouble: false, active: 0, isPlaying: false });
    for (const viewer of this.#viewers) viewer.clear();
  }
}

const OF_PANE = ["series", "slice", "window", "view", "turn", "isInverted", "slabMm"];

// Whether positions of two series can be compared: their slices lie in the same direction.
function isAlike(a, b) {
  return ["left", "top"].every((side) => a.orientation[side] === b.orientation[side]);
}
