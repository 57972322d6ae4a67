// Masks of a slice, a bit a class -> outlines along the borders of pixels, and a fill.

// Told apart on grey, also by people who see few colours: they differ in lightness, too.
const COLOURS = {
  any: "#f2f6f8",
  epidural: "#ffb000",
  intraparenchymal: "#ff5a4f",
  intraventricular: "#5aa9ff",
  subarachnoid: "#5fe08c",
  subdural: "#dc8cff",
};

export function classColour(key) {
  return COLOURS[key] ?? "#ffffff";
}

// The line around the pixels that have a bit, in pixels from the corner of the slice: a run of
// borders is one stretch, and each lies exactly between two pixels.
export function traceOutline({ pixels, rows, columns }, bit) {
  const path = new Path2D();
  const isMarked = (row, column) =>
    row >= 0 && column >= 0 && row < rows && column < columns && (pixels[row * columns + column] & bit) !== 0;
  // Borders along a line of `length` places; isBorder(i) is asked for each.
  const stretches = (length, isBorder, draw) => {
    let from = -1;
    for (let i = 0; i <= length; i++) {
      const here = i < length && isBorder(i);
      if (here && from < 0) from = i;
      if (!here && from >= 0) {
        draw(from, i);
        from = -1;
      }
    }
  };
  for (let row = 0; row <= rows; row++) {
    stretches(
      columns,
      (column) => isMarked(row - 1, column) !== isMarked(row, column),
      (from, to) => {
        path.moveTo(from, row);
        path.lineTo(to, row);
      },
    );
  }
  for (let column = 0; column <= columns; column++) {
    stretches(
      rows,
      (row) => isMarked(row, column - 1) !== isMarked(row, column),
      (from, to) => {
        path.moveTo(column, from);
        path.lineTo(column, to);
      },
    );
  }
  return path;
}

// Uint32Array [256] of RGBA pixels for masks: the mean colour of the shown subtypes that a pixel has,
// and that of `any` where it has no other. shown: keys of the classes to paint.
export function makeFillTable(classes, shown) {
  const table = new Uint32Array(256);
  for (let mask = 0; mask < 256; mask++) {
    const marked = classes.filter((key, k) => (mask >> k) & 1 && shown.has(key));
    const subtypes = marked.filter((key) => key !== "any");
    const used = subtypes.length ? subtypes : marked;
    if (!used.length) continue;
    const [r, g, b] = [1, 3, 5].map((at) => {
      const values = used.map((key) => Number.parseInt(classColour(key).slice(at, at + 2), 16));
      return Math.round(values.reduce((sum, value) => sum + value, 0) / values.length);
    });
    table[mask] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return table;
}

// Writes a mask through a table into the pixels of an ImageData of the same size.
export function paintFill({ pixels }, table, image) {
  const painted = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) painted[i] = table[pixels[i]];
}

// 312.4 -> "3.1 cm²".
export function areaText(mm2) {
  if (mm2 > 0 && mm2 < 5) return "<0.1 cm\u00b2";
  const cm2 = mm2 / 100;
  return `${cm2 >= 100 ? Math.round(cm2) : cm2.toFixed(cm2 ? 1 : 0)} cm\u00b2`;
}

// Millilitres: "12.3", "0", "<0.1", and a dash where the volume is not known.
export function volumeText(ml) {
  if (ml === null || ml === undefined) return "\u2013";
  if (ml > 0 && ml < 0.05) return "<0.1";
  return ml >= 100 ? String(Math.round(ml)) : ml.toFixed(ml ? 1 : 0);
}
