// Cine: runs through the slices of the active pane, and begins again at its end.

import { announce } from "./messages.js";
import { byId, show } from "./dom.js";

const RATES = [2, 5, 10, 20, 30]; // slices a second

export function makeCine(store) {
  let timer = 0;

  function step() {
    const series = store.get("study")?.series[store.get("series")];
    if (!series) return;
    store.set({ slice: (store.get("slice") + 1) % series.num_slices });
  }

  function run() {
    clearInterval(timer);
    const isPlaying = store.get("isPlaying") && store.get("page") === "study";
    if (isPlaying) timer = setInterval(step, 1000 / store.get("cineRate"));
    show(byId("cine"), isPlaying);
    byId("cine-rate").textContent = `${store.get("cineRate")} slices/s`;
  }

  byId("cine-stop").addEventListener("click", () => store.set({ isPlaying: false }));
  byId("cine-slower").addEventListener("click", () => changeRate(store, -1));
  byId("cine-faster").addEventListener("click", () => changeRate(store, 1));
  store.on(["isPlaying", "cineRate", "page"], run);
  store.on(["isPlaying"], () => {
    if (store.get("page") === "study") announce(store.get("isPlaying") ? "Cine runs." : "Cine stopped.");
  });
}

// To the next slower or faster rate.
export function changeRate(store, by) {
  const at = RATES.indexOf(store.get("cineRate")) + by;
  store.set({ cineRate: RATES[Math.min(RATES.length - 1, Math.max(0, at))] });
}
