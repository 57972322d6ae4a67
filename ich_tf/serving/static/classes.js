// Names of the six classes, and texts of their probabilities.

const NAMES = {
  any: "Any hemorrhage",
  epidural: "Epidural",
  intraparenchymal: "Intraparenchymal",
  intraventricular: "Intraventricular",
  subarachnoid: "Subarachnoid",
  subdural: "Subdural",
};

export function className(key) {
  return NAMES[key] ?? key;
}

// "Any" comes first, as the first question of a reader; the others keep the server's order.
export function shownOrder(classes) {
  return [...classes].sort((a, b) => (b === "any") - (a === "any"));
}

// 0.83241 -> "0.832". Values that would be rounded to 0 or 1 are shown as "<0.001" or ">0.999".
export function probabilityText(value) {
  if (value > 0 && value < 0.0005) return "<0.001";
  if (value < 1 && value > 0.9995) return ">0.999";
  return value.toFixed(3);
}

// Whether a probability is at or above its operating point; null without an operating point.
export function isAbove(value, threshold) {
  return threshold === null || threshold === undefined ? null : value >= threshold;
}
