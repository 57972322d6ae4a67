// Hounsfield units -> grey: window presets, and a table for all 65,536 values.

export const PRESETS = [
  { key: "1", name: "Brain", center: 40, width: 80 },
  { key: "2", name: "Subdural", center: 80, width: 200 },
  { key: "3", name: "Stroke", center: 32, width: 8 },
  { key: "4", name: "Bone", center: 600, width: 2800 },
  { key: "5", name: "Soft tissue", center: 40, width: 380 },
];

export function presetOf({ center, width }) {
  return PRESETS.find((preset) => preset.center === center && preset.width === width) ?? null;
}

// A window, limited to the range of a CT.
export function bounded({ center, width }) {
  return { center: Math.min(4000, Math.max(-2000, center)), width: Math.min(6000, Math.max(1, width)) };
}

// The same in whole Hounsfield units, as it is shown.
export function limited(window) {
  const { center, width } = bounded(window);
  return { center: Math.round(center), width: Math.round(width) };
}

// Uint32Array [65536] of opaque grey pixels, indexed by HU + 32768. Linear from center - width / 2 (black)
// to center + width / 2 (white); the other way round if it is inverted.
export function makeTable({ center, width }, isInverted) {
  const table = new Uint32Array(65536);
  const low = center - width / 2;
  for (let i = 0; i < 65536; i++) {
    const share = Math.min(1, Math.max(0, (i - 32768 - low) / width));
    const grey = Math.round((isInverted ? 1 - share : share) * 255);
    table[i] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
  }
  return table;
}

// Writes int16 [n] through a table into the pixels of an ImageData of n pixels.
export function paintGrey(hu, table, image) {
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < hu.length; i++) pixels[i] = table[hu[i] + 32768];
}
