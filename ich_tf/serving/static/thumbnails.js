// A small picture of each series: its most suspicious slice, in the brain window.

import { slicePath } from "./api.js";
import { pixelLoader } from "./loader.js";
import { make } from "./dom.js";
import { paintOn } from "./paint.js";
import { makeTable, paintGrey, PRESETS } from "./windowing.js";

const SIZE = 52; // CSS pixels; the same as in style.css
const RATIO = 2; // sharp on dense screens, too

export class Thumbnails {
  #pixels = pixelLoader();
  #table = makeTable(PRESETS[0], false);

  // A canvas that is painted when the slice has come; a slice that cannot be had leaves it black.
  make(studyId, number, series) {
    const canvas = make("canvas", { class: "thumbnail", width: SIZE * RATIO, height: SIZE * RATIO, "aria-hidden": "true" });
    const key = `${slicePath(studyId, number, series.summary.most_suspicious.any)}/pixels`;
    this.#pixels.get(key, 1).then(
      (picture) => this.#paint(canvas, series, picture),
      () => {}, // the stage reports what cannot be had; the list has words as well
    );
    return canvas;
  }

  clear() {
    this.#pixels.clear();
  }

  #paint(canvas, { spacing_mm: [rowMm, columnMm] }, picture) {
    const full = document.createElement("canvas");
    paintOn(full, picture, (image) => paintGrey(picture.hu, this.#table, image));
    const [wide, high] = [picture.columns * columnMm, picture.rows * rowMm];
    const scale = canvas.width / Math.max(wide, high);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    const [x, y] = [(canvas.width - wide * scale) / 2, (canvas.height - high * scale) / 2];
    context.drawImage(full, x, y, wide * scale, high * scale);
  }
}
