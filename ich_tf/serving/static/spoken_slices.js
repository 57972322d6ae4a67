// Lets screen readers speak the slice when scrolling rests; sliders speak by themselves.

import { className, probabilityText } from "./classes.js";
import { announce } from "./messages.js";

const REST_MS = 400;

export function speakSlices(store) {
  let timer = 0;
  store.on(["slice"], () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const series = store.get("study")?.series[store.get("series")];
      if (!series || store.get("isPlaying") || document.activeElement?.matches("#slice, #strip")) return;
      const slice = store.get("slice");
      const key = store.get("heatClass");
      const value = series.probabilities[slice][store.get("classes").indexOf(key)];
      announce(`Slice ${slice + 1} of ${series.num_slices}. ${className(key)} ${probabilityText(value)}.`);
    }, REST_MS);
  });
}
