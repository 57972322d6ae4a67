// The keyboard, as one table: each key, its function, and the text of the help.

import { changeRate } from "./cine.js";
import { byId, make } from "./dom.js";
import { isMeasure } from "./measure_layer.js";
import { mirrored, turned, UPRIGHT, upended } from "./turn.js";
import { WHOLE } from "./view_transform.js";
import { PRESETS } from "./windowing.js";

const PAGE = 5;

// Steps of Shift and an arrow, CSS pixels: of the slice, and of the cross with which measures are set.
const MOVE = 40;
const CROSS_MOVE = 6;

function bindings(store, panes) {
  const move = (dx, dy) => () => {
    if (isMeasure(store.get("tool"))) panes.viewer.moveCross(dx * CROSS_MOVE, dy * CROSS_MOVE);
    else panes.viewer.panBy(dx * MOVE, dy * MOVE);
  };
  const toggle = (name) => () => store.set({ [name]: !store.get(name) });
  const tool = (name) => () => store.set({ tool: name });
  const turn = (change) => () => store.set({ turn: change(store.get("turn")) });
  const presets = PRESETS.map(({ key, name, center, width }) => ({
    keys: [key],
    does: `${name} window: C ${center}, W ${width}`,
    run: () => store.set({ window: { center, width } }),
  }));
  const opacity = (name, by) => () =>
    store.set({ [name]: Math.min(1, Math.max(0.05, store.get(name) + by)) });
  return [
    { keys: ["ArrowDown", "ArrowRight"], does: "Next slice", run: () => panes.viewer.scrollBy(1) },
    { keys: ["ArrowUp", "ArrowLeft"], does: "Previous slice", run: () => panes.viewer.scrollBy(-1) },
    { keys: ["PageDown"], does: `${PAGE} slices forward`, run: () => panes.viewer.scrollBy(PAGE) },
    { keys: ["PageUp"], does: `${PAGE} slices back`, run: () => panes.viewer.scrollBy(-PAGE) },
    { keys: ["Home"], does: "First slice", run: () => panes.viewer.scrollTo(0) },
    { keys: ["End"], does: "Last slice", run: () => panes.viewer.scrollTo(Infinity) },
    ...presets,
    { keys: ["h"], does: "Heat map on or off", run: toggle("heatOn") },
    { keys: ["["], does: "Heat map fainter", run: opacity("heatOpacity", -0.1) },
    { keys: ["]"], does: "Heat map stronger", run: opacity("heatOpacity", 0.1) },
    { keys: ["o"], does: "Outlines on or off", run: toggle("outlinesOn") },
    { keys: ["f"], does: "Fill of the outlines", run: toggle("outlineFill") },
    { keys: [","], does: "Outlines fainter", run: opacity("outlineOpacity", -0.1) },
    { keys: ["."], does: "Outlines stronger", run: opacity("outlineOpacity", 0.1) },
    { keys: ["+", "="], does: "Zoom in", run: () => panes.viewer.zoomBy(1.25) },
    { keys: ["-"], does: "Zoom out", run: () => panes.viewer.zoomBy(0.8) },
    { keys: ["0"], does: "Whole slice", run: () => store.set({ view: WHOLE }) },
    { keys: ["Shift+ArrowLeft"], does: "Move the slice, or a measure's cross, left", run: move(-1, 0) },
    { keys: ["Shift+ArrowRight"], does: "The same, right", run: move(1, 0) },
    { keys: ["Shift+ArrowUp"], does: "The same, up", run: move(0, -1) },
    { keys: ["Shift+ArrowDown"], does: "The same, down", run: move(0, 1) },
    { keys: ["w"], does: "Drag changes the window", run: tool("window") },
    { keys: ["m"], does: "Drag moves the slice", run: tool("pan") },
    { keys: ["s"], does: "Drag scrolls", run: tool("scroll") },
    { keys: ["l"], does: "Measure a length", run: tool("length") },
    { keys: ["a"], does: "Measure an angle", run: tool("angle") },
    { keys: ["r"], does: "Measure a region's HU", run: tool("region") },
    {
      keys: ["Enter"],
      does: "Set a point of a measure at the cross",
      // On a button, Enter is a click.
      isFor: ({ target }) => isMeasure(store.get("tool")) && !target.matches(CLICKED),
      run: () => panes.viewer.setPoint(),
    },
    { keys: ["Backspace", "Delete"], does: "Remove the last measure", run: () => panes.viewer.removeLastMeasure() },
    { keys: ["t"], does: "Turn a quarter", run: turn(turned) },
    { keys: ["x"], does: "Mirror left and right", run: turn(mirrored) },
    { keys: ["y"], does: "Mirror top and bottom", run: turn(upended) },
    { keys: ["i"], does: "Invert the grey values", run: toggle("isInverted") },
    { keys: ["u"], does: "Upright and not inverted", run: () => store.set({ turn: UPRIGHT, isInverted: false }) },
    {
      keys: [" "],
      does: "Cine on or off",
      isFor: ({ target }) => !target.matches(CLICKED),
      run: toggle("isPlaying"),
    },
    { keys: ["<"], does: "Cine slower", run: () => changeRate(store, -1) },
    { keys: [">"], does: "Cine faster", run: () => changeRate(store, 1) },
    { keys: ["d"], does: "Two panes or one", run: () => panes.toggleDouble() },
    { keys: ["Tab"], does: "On a slice: to the other pane, which becomes active", run: null },
    { keys: ["k"], does: "Both panes scroll together or not", run: toggle("isLinked") },
  ];
}

// What Enter and Space click.
const CLICKED = "button, summary, input[type=checkbox], a";

const MOUSE = [
  ["Wheel", "Scroll through the slices"],
  ["Ctrl + wheel, pinch", "Zoom"],
  ["Drag", "The tool that is chosen beside the slice"],
  ["Drag a measure's point", "Changes it, with a measuring tool"],
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

export function listenToKeys(store, panes) {
  const table = new Map();
  const all = bindings(store, panes);
  for (const binding of all) {
    if (binding.run) for (const key of binding.keys) table.set(key, binding);
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "?") {
      byId("help-dialog").showModal();
      return;
    }
    if (store.get("page") !== "study") return;
    const arrow = event.shiftKey && event.key.startsWith("Arrow");
    const binding = table.get(arrow ? `Shift+${event.key}` : event.key.toLowerCase()) ??
      table.get(event.key);
    if (!binding || (event.shiftKey && !arrow && event.key.length > 1)) return;
    if (binding.isFor && !binding.isFor(event)) return;
    event.preventDefault();
    binding.run();
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
    .replace(/^ $/, "Space")
    .replace(/^[a-z]$/, (letter) => letter.toUpperCase());
}
