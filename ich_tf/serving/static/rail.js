// The rail beside the slice: tools for dragging and measuring, turns, inversion, cine, two panes.

import { byId, draw, make, show } from "./dom.js";
import { mirrored, turned, UPRIGHT, upended } from "./turn.js";

// Symbols are paths in a box of 24 x 24: lines, and a filled part.
const TOOLS = [
  {
    tool: "window",
    name: "Window",
    title: "Window: drag right to widen it, down to raise its center (W)",
    lines: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z",
    full: "M12 3.5a8.5 8.5 0 0 1 0 17z",
  },
  {
    tool: "pan",
    name: "Move",
    title: "Move: drag the slice; or with any tool, drag with Shift or with the middle button (M)",
    lines: "M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3",
  },
  {
    tool: "scroll",
    name: "Scroll",
    title: "Scroll: drag up or down through the slices (S)",
    lines: "M12 4 3 8.5l9 4.5 9-4.5zM3 12.5l9 4.5 9-4.5M3 16.5l9 4.5 9-4.5",
  },
  {
    tool: "length",
    name: "Length",
    title: "Length in mm: drag, or click twice (L)",
    lines: "M5 19 19 5M3 17l4 4M17 3l4 4M9.5 11l2 2M12 8.5l2 2",
  },
  {
    tool: "angle",
    name: "Angle",
    title: "Angle: drag its first arm, then click for the second; or click three times (A)",
    lines: "M4 19h16M4 19 16 5M12.5 19a9 9 0 0 0-3-6.4",
  },
  {
    tool: "region",
    name: "Region",
    title: "Hounsfield units of a region: drag an ellipse, or click twice (R)",
    lines: "M12 5.5c5 0 8.5 2.7 8.5 6.5s-3.5 6.5-8.5 6.5S3.5 15.8 3.5 12 7 5.5 12 5.5z",
    full: "M8 11h8v2H8z",
  },
];

export function makeRail(store, panes) {
  const button = ({ name, title, lines, full }, run) =>
    make(
      "button",
      { type: "button", title, onclick: run },
      draw(lines, full),
      make("span", { class: "unseen" }, name),
    );
  const turn = (change) => () => store.set({ turn: change(store.get("turn")) });

  const tools = TOOLS.map((tool) => button(tool, () => store.set({ tool: tool.tool })));
  const removal = button(
    {
      name: "Remove the last measure",
      title: "Remove the last measure of this slice (Backspace)",
      lines: "M9 6h11v12H9l-6-6zM11.5 9.5l5 5M16.5 9.5l-5 5",
    },
    () => panes.viewer.removeLastMeasure(),
  );
  byId("tools").replaceChildren(...tools, removal);

  const inversion = button(
    {
      name: "Invert",
      title: "Invert the grey values (I)",
      lines: "M4.5 4.5h15v15h-15z",
      full: "M4.5 4.5h15l-15 15z",
    },
    () => store.set({ isInverted: !store.get("isInverted") }),
  );
  byId("turns").replaceChildren(
    button(
      {
        name: "Turn a quarter",
        title: "Turn a quarter clockwise (T)",
        lines: "M18.5 12a6.5 6.5 0 1 1-2-4.7L18.5 9M18.5 4.5V9H14",
      },
      turn(turned),
    ),
    button(
      {
        name: "Mirror left and right",
        title: "Mirror left and right (X)",
        lines: "M12 3v18M9 7v10H3zM15 7v10h6z",
      },
      turn(mirrored),
    ),
    button(
      {
        name: "Mirror top and bottom",
        title: "Mirror top and bottom (Y)",
        lines: "M3 12h18M7 9h10V3zM7 15h10v6z",
      },
      turn(upended),
    ),
    inversion,
    button(
      { name: "Upright", title: "Upright and not inverted (U)", lines: "M12 20V5M6.5 10.5 12 5l5.5 5.5" },
      () => store.set({ turn: UPRIGHT, isInverted: false }),
    ),
  );

  const cine = button(
    { name: "Cine", title: "Cine: run through the slices (Space)", full: "M7 4.5 19.5 12 7 19.5z" },
    () => store.set({ isPlaying: !store.get("isPlaying") }),
  );
  const double = button(
    {
      name: "Two side by side",
      title: "Two series side by side, or one in two windows (D)",
      lines: "M3.5 5h17v14h-17zM12 5v14",
    },
    () => panes.toggleDouble(),
  );
  const link = button(
    {
      name: "Scroll together",
      title: "Both panes show the same place of the body (K)",
      lines: "M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7L12 7M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7L12 17",
    },
    () => store.set({ isLinked: !store.get("isLinked") }),
  );
  byId("layout").replaceChildren(cine, double, link);

  const write = () => {
    TOOLS.forEach(({ tool }, i) =>
      tools[i].setAttribute("aria-pressed", String(tool === store.get("tool"))),
    );
    for (const stage of document.querySelectorAll(".stage")) stage.dataset.tool = store.get("tool");
    inversion.setAttribute("aria-pressed", String(store.get("isInverted")));
    cine.setAttribute("aria-pressed", String(store.get("isPlaying")));
    double.setAttribute("aria-pressed", String(store.get("isDouble")));
    link.setAttribute("aria-pressed", String(store.get("isLinked")));
    show(link, store.get("isDouble"));
  };
  store.on(["tool", "isInverted", "isPlaying", "isDouble", "isLinked"], write);
  write();
}
