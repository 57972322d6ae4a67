// Measures on a slice: a length, an angle, the Hounsfield units of a region. A measure is {kind,
// points}, points [column, row] in pixels from the slice's corner, so that zoom and turns keep it.

import { areaText } from "./outlines.js";

export const POINTS = { length: 2, angle: 3, region: 2 };

function millimetres({ spacing_mm: [rowMm, columnMm] }, [fromColumn, fromRow], [column, row]) {
  return [(column - fromColumn) * columnMm, (row - fromRow) * rowMm];
}

export function lengthMm(series, [from, to]) {
  return Math.hypot(...millimetres(series, from, to));
}

// Degrees from 0 to 180 between the arms of an angle, whose corner is the second point.
export function angleDeg(series, [first, corner, second]) {
  const [ax, ay] = millimetres(series, corner, first);
  const [bx, by] = millimetres(series, corner, second);
  return (Math.atan2(Math.abs(ax * by - ay * bx), ax * bx + ay * by) * 180) / Math.PI;
}

// {left, top, wide, high} of the ellipse between two corners.
export function ellipseOf([[c0, r0], [c1, r1]]) {
  return { left: Math.min(c0, c1), top: Math.min(r0, r1), wide: Math.abs(c1 - c0), high: Math.abs(r1 - r0) };
}

// Statistics of the pixels whose middles lie in the ellipse between two corners: their count, mean,
// standard deviation, least and greatest HU, and area in mm2. Null where there is none.
export function regionOf(series, { hu, rows, columns }, points) {
  const { left, top, wide, high } = ellipseOf(points);
  let [count, sum, squares, least, greatest] = [0, 0, 0, Infinity, -Infinity];
  for (let row = Math.max(0, Math.floor(top)); row < Math.min(rows, top + high); row++) {
    for (let column = Math.max(0, Math.floor(left)); column < Math.min(columns, left + wide); column++) {
      const x = (column + 0.5 - left - wide / 2) / (wide / 2);
      const y = (row + 0.5 - top - high / 2) / (high / 2);
      if (x * x + y * y > 1) continue;
      const value = hu[row * columns + column];
      count++;
      sum += value;
      squares += value * value;
      least = Math.min(least, value);
      greatest = Math.max(greatest, value);
    }
  }
  if (!count) return null;
  const mean = sum / count;
  const [rowMm, columnMm] = series.spacing_mm;
  const sd = Math.sqrt(Math.max(0, squares / count - mean * mean));
  return { count, mean, sd, least, greatest, area: count * rowMm * columnMm };
}

// Lines of text beside a measure; empty while it has too few points. picture: {hu, rows, columns}.
export function measureTexts(series, picture, { kind, points }) {
  if (points.length < POINTS[kind]) return [];
  if (kind === "length") return [`${lengthMm(series, points).toFixed(1)} mm`];
  if (kind === "angle") return [`${angleDeg(series, points).toFixed(1)}\u00b0`];
  const region = regionOf(series, picture, points);
  if (!region) return ["no pixel"];
  const { mean, sd, least, greatest, area } = region;
  return [
    `mean ${mean.toFixed(1)} HU, SD ${sd.toFixed(1)}`,
    `${Math.round(least)} to ${Math.round(greatest)} HU`,
    area < 100 ? `${area.toFixed(1)} mm\u00b2` : areaText(area),
  ];
}
