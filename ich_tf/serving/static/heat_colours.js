// Colours of a heat map: dark violet, through red and orange, to pale yellow. Lightness grows
// evenly, so that the order is visible without distinguishing colours.

const STOPS = [
  [0.0, 28, 12, 68],
  [0.2, 88, 18, 110],
  [0.4, 158, 42, 99],
  [0.6, 217, 80, 60],
  [0.8, 247, 146, 24],
  [1.0, 252, 246, 160],
];

// [r, g, b], 0 to 255, of a value from 0 to 1.
export function heatColour(value) {
  let i = 1;
  while (i < STOPS.length - 1 && value > STOPS[i][0]) i++;
  const [low, high] = [STOPS[i - 1], STOPS[i]];
  const share = (value - low[0]) / (high[0] - low[0]);
  return [1, 2, 3].map((k) => Math.round(low[k] + share * (high[k] - low[k])));
}

// Uint32Array [256] of RGBA pixels. Opacity grows with the value, so that cold pixels show the
// slice.
export function makeHeatTable() {
  const table = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const [r, g, b] = heatColour(i / 255);
    const alpha = Math.round(255 * Math.min(1, (i / 255) * 1.25));
    table[i] = (alpha << 24) | (b << 16) | (g << 8) | r;
  }
  return table;
}

// Writes uint8 [n] into the pixels of an ImageData of n pixels.
export function paintHeat(heat, table, image) {
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < heat.length; i++) pixels[i] = table[heat[i]];
}

// The legend: a canvas of one row.
export function paintLegend(canvas) {
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    const [r, g, b] = heatColour(x / (canvas.width - 1));
    context.fillStyle = `rgb(${r} ${g} ${b})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}
