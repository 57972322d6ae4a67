// The six classes as people read them.

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

// "Any" leads, as the first thing that is asked; the others keep the server's order.
export function shownOrder(classes) {
  return [...classes].sort((a, b) => (b === "any") - (a === "any"));
}

// 0.83241 -> "0.832". What rounds to 0 or 1 without being it, says so.
export function probabilityText(value) {
  if (value > 0 && value < 0.0005) return "<0.001";
  if (value < 1 && value > 0.9995) return ">0.999";
  return value.toFixed(3);
}

// Whether a probability is at or above its operating point; null where there is none.
export function isAbove(value, threshold) {
  return threshold === null || threshold === undefined ? null : value >= threshold;
}
