// The toolbar: window presets and fields, tools for dragging, zoom.

import { byId, draw, make } from "./dom.js";
import { WHOLE } from "./view_transform.js";
import { limited, PRESETS, presetOf } from "./windowing.js";

// Symbols are paths in a box of 24 x 24: lines, and a filled part.
const TOOLS = [
  {
    tool: "window",
    name: "Window",
    title: "Window: drag right to widen it, down to raise its center",
    lines: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z",
    full: "M12 3.5a8.5 8.5 0 0 1 0 17z",
  },
  {
    tool: "pan",
    name: "Move",
    title: "Move: drag the slice (or drag with Shift or with the middle button)",
    lines: "M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3",
  },
  {
    tool: "scroll",
    name: "Scroll",
    title: "Scroll: drag up or down through the slices",
    lines: "M12 4 3 8.5l9 4.5 9-4.5zM3 12.5l9 4.5 9-4.5M3 16.5l9 4.5 9-4.5",
  },
];

export function makeToolbar(store, viewer) {
  const presets = PRESETS.map(({ key, name, center, width }) =>
    make(
      "button",
      {
        type: "button",
        title: `Center ${center}, width ${width} HU (${key})`,
        onclick: () => store.set({ window: { center, width } }),
      },
      name,
    ),
  );
  byId("presets").replaceChildren(...presets);

  const tools = TOOLS.map(({ tool, name, title, lines, full }) =>
    make(
      "button",
      { type: "button", title, onclick: () => store.set({ tool }) },
      draw(lines, full),
      make("span", {}, name),
    ),
  );
  byId("tools").replaceChildren(...tools);

  const center = byId("window-center");
  const width = byId("window-width");
  const typed = () => {
    if (center.value === "" || width.value === "") return;
    const given = limited({ center: center.valueAsNumber, width: width.valueAsNumber });
    center.value = given.center;
    width.value = given.width;
    store.set({ window: given });
  };
  center.addEventListener("change", typed);
  width.addEventListener("change", typed);

  byId("zoom-in").addEventListener("click", () => viewer.zoomBy(1.25));
  byId("zoom-out").addEventListener("click", () => viewer.zoomBy(0.8));
  byId("zoom-fit").addEventListener("click", () => store.set({ view: WHOLE }));

  const write = () => {
    const current = store.get("window");
    const chosen = presetOf(current);
    PRESETS.forEach((preset, i) =>
      presets[i].setAttribute("aria-pressed", String(preset === chosen)),
    );
    TOOLS.forEach(({ tool }, i) =>
      tools[i].setAttribute("aria-pressed", String(tool === store.get("tool"))),
    );
    byId("stage").dataset.tool = store.get("tool");
    // A field that is being edited keeps its text.
    if (document.activeElement !== center) center.value = current.center;
    if (document.activeElement !== width) width.value = current.width;
  };
  store.on(["window", "tool"], write);
  write();
}
