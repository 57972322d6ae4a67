// The place of a slice on the screen: fitted by its size in mm, then zoomed and moved.
// A view is {zoom, x, y}, with x and y in CSS pixels; 1, 0, 0 is the whole slice in the middle.

export const WHOLE = Object.freeze({ zoom: 1, x: 0, y: 0 });
const MOST_ZOOM = 16;
const MARGIN = 0.97;

// {left, top, width, height} of the slice in CSS pixels, and CSS pixels a mm.
export function place(series, view, width, height) {
  const [rowMm, columnMm] = series.spacing_mm;
  const wide = series.columns * columnMm;
  const high = series.rows * rowMm;
  const scale = Math.min(width / wide, height / high) * MARGIN * view.zoom;
  return {
    left: width / 2 + view.x - (wide * scale) / 2,
    top: height / 2 + view.y - (high * scale) / 2,
    width: wide * scale,
    height: high * scale,
    scale,
  };
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

// The pixel [column, row] of {rows, columns} under (x, y) of the stage, or null beside the slice.
export function pixelAt({ rows, columns }, placed, x, y) {
  const column = Math.floor(((x - placed.left) / placed.width) * columns);
  const row = Math.floor(((y - placed.top) / placed.height) * rows);
  const inside = column >= 0 && row >= 0 && column < columns && row < rows;
  return inside ? [column, row] : null;
}

// Length of a scale bar in mm, a round number of at most `most` CSS pixels.
export function scaleBarMm(scale, most) {
  return [100, 50, 20, 10, 5, 2, 1].find((mm) => mm * scale <= most) ?? 1;
}
