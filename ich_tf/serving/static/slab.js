// Slabs: the mean of the slices within a thickness about the one that is shown.

const THICKNESSES = [3, 5, 10, 15, 20]; // mm

function distanceMm({ z_mm: z }) {
  const steps = z.slice(1).map((at, i) => Math.abs(at - z[i]));
  return steps.sort((a, b) => a - b)[Math.floor(steps.length / 2)] ?? 0;
}

// Thicknesses in mm that hold more than one slice of a series, and not all of it.
export function slabChoices(series) {
  const distance = distanceMm(series);
  const whole = Math.abs(series.z_mm.at(-1) - series.z_mm[0]) + distance;
  return distance ? THICKNESSES.filter((mm) => mm >= 1.5 * distance && mm <= whole) : [];
}

// Indices of the slices of a slab; only the slice itself for 0 mm.
export function slabSlices(series, slice, mm) {
  if (!mm) return [slice];
  const middle = series.z_mm[slice];
  // Slices whose middles are at most half the thickness away.
  const reach = mm / 2 + 1e-3;
  return series.z_mm.flatMap((z, i) => (Math.abs(z - middle) <= reach ? [i] : []));
}

// The mean of pictures {hu, rows, columns} of the same size, in whole HU.
export function meanOf(pictures) {
  const [{ rows, columns }] = pictures;
  const sums = new Int32Array(rows * columns);
  for (const { hu } of pictures) for (let i = 0; i < sums.length; i++) sums[i] += hu[i];
  const hu = new Int16Array(sums.length);
  for (let i = 0; i < sums.length; i++) hu[i] = Math.round(sums[i] / pictures.length);
  return { hu, rows, columns };
}
