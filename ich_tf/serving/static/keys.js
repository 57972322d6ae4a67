// The keyboard, as one table: each key, its function, and the text of the help.

import { byId, make } from "./dom.js";
import { WHOLE } from "./view_transform.js";
import { PRESETS } from "./windowing.js";

const PAGE = 5;

function bindings(store, viewer) {
  const move = (dx, dy) => () => viewer.panBy(dx, dy);
  const presets = PRESETS.map(({ key, name, center, width }) => ({
    keys: [key],
    does: `${name} window: C ${center}, W ${width}`,
    run: () => store.set({ window: { center, width } }),
  }));
  const opacity = (name, by) => () =>
    store.set({ [name]: Math.min(1, Math.max(0.05, store.get(name) + by)) });
  return [
    { keys: ["ArrowDown", "ArrowRight"], does: "Next slice", run: () => viewer.scrollBy(1) },
    { keys: ["ArrowUp", "ArrowLeft"], does: "Previous slice", run: () => viewer.scrollBy(-1) },
    { keys: ["PageDown"], does: `${PAGE} slices forward`, run: () => viewer.scrollBy(PAGE) },
    { keys: ["PageUp"], does: `${PAGE} slices back`, run: () => viewer.scrollBy(-PAGE) },
    { keys: ["Home"], does: "First slice", run: () => viewer.scrollTo(0) },
    { keys: ["End"], does: "Last slice", run: () => viewer.scrollTo(Infinity) },
    ...presets,
    { keys: ["h"], does: "Heat map on or off", run: () => store.set({ heatOn: !store.get("heatOn") }) },
    { keys: ["["], does: "Heat map fainter", run: opacity("heatOpacity", -0.1) },
    { keys: ["]"], does: "Heat map stronger", run: opacity("heatOpacity", 0.1) },
    { keys: ["o"], does: "Outlines on or off", run: () => store.set({ outlinesOn: !store.get("outlinesOn") }) },
    { keys: ["f"], does: "Fill of the outlines", run: () => store.set({ outlineFill: !store.get("outlineFill") }) },
    { keys: [","], does: "Outlines fainter", run: opacity("outlineOpacity", -0.1) },
    { keys: ["."], does: "Outlines stronger", run: opacity("outlineOpacity", 0.1) },
    { keys: ["+", "="], does: "Zoom in", run: () => viewer.zoomBy(1.25) },
    { keys: ["-"], does: "Zoom out", run: () => viewer.zoomBy(0.8) },
    { keys: ["0"], does: "Whole slice", run: () => store.set({ view: WHOLE }) },
    { keys: ["Shift+ArrowLeft"], does: "Move the slice left", run: move(-40, 0) },
    { keys: ["Shift+ArrowRight"], does: "Move the slice right", run: move(40, 0) },
    { keys: ["Shift+ArrowUp"], does: "Move the slice up", run: move(0, -40) },
    { keys: ["Shift+ArrowDown"], does: "Move the slice down", run: move(0, 40) },
  ];
}

const MOUSE = [
  ["Wheel", "Scroll through the slices"],
  ["Ctrl + wheel, pinch", "Zoom"],
  ["Drag", "Window, move or scroll, as chosen above the slice"],
  ["Middle button, Shift + drag", "Move"],
  ["Right button + drag", "Zoom"],
  ["Double click", "Whole slice"],
];

// Fields that need these keys themselves. The slider of slices does not: on it, too, down is the
// next slice. Nor does a checkbox.
function isTyping(target) {
  if (target instanceof HTMLSelectElement || target instanceof HTMLTextAreaElement) return true;
  if (!(target instanceof HTMLInputElement)) return false;
  return target.id !== "slice" && target.type !== "checkbox";
}

export function listenToKeys(store, viewer) {
  const table = new Map();
  const all = bindings(store, viewer);
  for (const { keys, run } of all) for (const key of keys) table.set(key, run);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "?") {
      byId("help-dialog").showModal();
      return;
    }
    if (store.get("page") !== "study") return;
    const arrow = event.shiftKey && event.key.startsWith("Arrow");
    const run = table.get(arrow ? `Shift+${event.key}` : event.key.toLowerCase()) ??
      table.get(event.key);
    if (!run || (event.shiftKey && !arrow && event.key.length > 1)) return;
    event.preventDefault();
    run();
  });
  const rows = [
    ...all.map(({ keys, does }) => [keys.map(keyName).join("  "), does]),
    ["?", "This list"],
    ...MOUSE,
  ];
  byId("help-list").replaceChildren(
    ...rows.map(([keys, does]) => make("div", {}, make("dt", {}, keys), make("dd", {}, does))),
  );
  byId("help").addEventListener("click", () => byId("help-dialog").showModal());
}

function keyName(key) {
  return key
    .replace("Shift+", "Shift ")
    .replace("ArrowDown", "\u2193")
    .replace("ArrowUp", "\u2191")
    .replace("ArrowLeft", "\u2190")
    .replace("ArrowRight", "\u2192")
    .replace(/^[a-z]$/, (letter) => letter.toUpperCase());
}
