// Window presets and fields, what dragging does, zoom.

import { byId, make } from "./dom.js";
import { WHOLE } from "./view_transform.js";
import { limited, PRESETS, presetOf } from "./windowing.js";

const TOOLS = [
  { tool: "window", name: "Window", title: "Drag: right widens, down raises the center" },
  { tool: "pan", name: "Move", title: "Drag moves the slice (or Shift and drag, or the middle button)" },
  { tool: "scroll", name: "Scroll", title: "Drag up and down goes through the slices" },
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

  const tools = TOOLS.map(({ tool, name, title }) =>
    make("button", { type: "button", title, onclick: () => store.set({ tool }) }, name),
  );
  byId("tools").replaceChildren(...tools);

  const center = byId("window-center");
  const width = byId("window-width");
  const typed = () => {
    if (center.value === "" || width.value === "") return;
    store.set({ window: limited({ center: center.valueAsNumber, width: width.valueAsNumber }) });
  };
  center.addEventListener("change", typed);
  width.addEventListener("change", typed);

  byId("zoom-in").addEventListener("click", () => viewer.zoomBy(1.25));
  byId("zoom-out").addEventListener("click", () => viewer.zoomBy(0.8));
  byId("zoom-fit").addEventListener("click", () => store.set({ view: WHOLE }));

  const write = () => {
    const current = store.get("window");
    const chosen = presetOf(current);
    PRESETS.forEach((one, i) => presets[i].setAttribute("aria-pressed", String(one === chosen)));
    TOOLS.forEach(({ tool }, i) =>
      tools[i].setAttribute("aria-pressed", String(tool === store.get("tool"))),
    );
    byId("stage").dataset.tool = store.get("tool");
    center.value = current.center;
    width.value = current.width;
  };
  store.on(["window", "tool"], write);
  write();
}
