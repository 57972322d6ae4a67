// The place of a slice on the screen: fitted by its size in mm, turned, then zoomed and moved.
// A view is {zoom, x, y}, with x and y in CSS pixels; 1, 0, 0 is the whole slice in the middle.

import { fromScreen, toScreen } from "./turn.js";

export const WHOLE = Object.freeze({ zoom: 1, x: 0, y: 0 });
const MOST_ZOOM = 16;
const MARGIN = 0.97;

// The middle of the slice on the stage, x and y in CSS pixels; its width and height before it is
// turned, CSS pixels; and CSS pixels a mm.
export function place(series, view, turn, width, height) {
  const [rowMm, columnMm] = series.spacing_mm;
  const size = [series.columns * columnMm, series.rows * rowMm];
  const [wide, high] = turn.quarters % 2 ? [size[1], size[0]] : size;
  const scale = Math.min(width / wide, height / high) * MARGIN * view.zoom;
  return {
    x: width / 2 + view.x,
    y: height / 2 + view.y,
    width: size[0] * scale,
    height: size[1] * scale,
    scale,
    turn,
  };
}

// Lets a canvas draw in a slice's own directions about its middle. Returns the slice's box there:
// [left, top, width, height].
export function turnContext(context, { x, y, width, height, turn }) {
  const [a, b] = toScreen(turn, 1, 0);
  const [c, d] = toScreen(turn, 0, 1);
  context.transform(a, b, c, d, x, y);
  return [-width / 2, -height / 2, width, height];
}

// Zooms about the point (x, y), in CSS pixels from the middle of the stage.
export function zoomedAt(view, factor, x, y) {
  const zoom = Math.min(MOST_ZOOM, Math.max(1, view.zoom * factor));
  const change = zoom / view.zoom;
  if (zoom === 1) return WHOLE;
  return { zoom, x: x - (x - view.x) * change, y: y - (y - view.y) * change };
}

// Moves, but keeps a part of the slice on the stage.
export function moved(view, dx, dy, width, height) {
  const limit = (size) => (size * view.zoom) / 2;
  const clamp = (value, most) => Math.min(most, Math.max(-most, value));
  return { ...view, x: clamp(view.x + dx, limit(width)), y: clamp(view.y + dy, limit(height)) };
}

// The point of a slice of {rows, columns} under (x, y) of the stage: [column, row], in pixels from
// its corner, with fractions.
export function pointAt({ rows, columns }, placed, x, y) {
  const [right, down] = fromScreen(placed.turn, x - placed.x, y - placed.y);
  return [(right / placed.width + 0.5) * columns, (down / placed.height + 0.5) * rows];
}

// The inverse of `pointAt`: (x, y) of the stage.
export function screenAt({ rows, columns }, placed, [column, row]) {
  const right = (column / columns - 0.5) * placed.width;
  const down = (row / rows - 0.5) * placed.height;
  const [x, y] = toScreen(placed.turn, right, down);
  return [placed.x + x, placed.y + y];
}

// The pixel [column, row] under (x, y) of the stage, or null beside the slice.
export function pixelAt(size, placed, x, y) {
  const [column, row] = pointAt(size, placed, x, y).map(Math.floor);
  const inside = column >= 0 && row >= 0 && column < size.columns && row < size.rows;
  return inside ? [column, row] : null;
}

// Length of a scale bar in mm, a round number of at most `most` CSS pixels.
export function scaleBarMm(scale, most) {
  return [100, 50, 20, 10, 5, 2, 1].find((mm) => mm * scale <= most) ?? 1;
}
