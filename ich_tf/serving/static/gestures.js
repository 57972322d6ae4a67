// Mouse, pen and fingers on the stage -> scroll, window, pan, zoom, measure, hover.
// The left button uses the chosen tool, the middle one pans, the right one zooms; two fingers pinch
// and pan; the wheel scrolls, and zooms with Ctrl (or by a pinch on a touchpad).

import { isMeasure } from "./measure_layer.js";

// Pixels a slice for wheels that report pixels: a touchpad would otherwise scroll too fast.
const WHEEL_PIXELS = 50;
const DRAG_PIXELS_A_SLICE = 8;

// Lines a notch, where a wheel reports lines.
const WHEEL_LINES = 3;
// Units a notch of wheelDeltaY, which Chromium and Safari report beside the pixels.
const WHEEL_UNITS = 120;

// Number of notches that a wheel was turned: a notch is a slice, whatever number of lines or pixels
// the system reports, and a browser merges notches that come within a frame. Null for a touchpad.
function notches({ deltaMode, deltaY, wheelDeltaY }) {
  const turned = Math.sign(deltaY);
  if (deltaMode !== 0) return turned * Math.max(1, Math.round(Math.abs(deltaY) / WHEEL_LINES));
  if (Math.abs(deltaY) < 2 * WHEEL_PIXELS) return null;
  const units = Math.abs(wheelDeltaY ?? 0);
  const isWhole = units > 0 && units % WHEEL_UNITS === 0;
  return turned * (isWhole ? units / WHEEL_UNITS : Math.max(1, Math.round(Math.abs(deltaY) / 100)));
}

export function listenToGestures(element, getTool, on) {
  const pointers = new Map();
  let doing = null;
  let rest = 0;

  const at = (event) => {
    const box = element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const fromMiddle = ({ x, y }) => [x - element.clientWidth / 2, y - element.clientHeight / 2];
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return {
      distance: Math.max(1, Math.hypot(a.x - b.x, a.y - b.y)),
      middle: { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 },
    };
  };

  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    rest = 0;
    if (event.button === 1) event.preventDefault();
    doing = ["tool", "pan", "zoom"][event.button] ?? null;
    if (event.button === 0 && event.shiftKey) doing = "pan";
    if (doing === "tool" && isMeasure(getTool())) on.press(at(event));
    if (pointers.size === 2) doing = "pinch";
    on.hover(at(event));
  });

  element.addEventListener("pointermove", (event) => {
    const now = at(event);
    const before = pointers.get(event.pointerId);
    if (!before) {
      on.hover(now);
      return;
    }
    if (doing === "pinch" && pointers.size === 2) {
      const old = spread();
      pointers.set(event.pointerId, now);
      const current = spread();
      on.pan(current.middle.x - old.middle.x, current.middle.y - old.middle.y);
      on.zoom(current.distance / old.distance, ...fromMiddle(current.middle));
      return;
    }
    pointers.set(event.pointerId, now);
    const [dx, dy] = [now.x - before.x, now.y - before.y];
    const what = doing === "tool" ? getTool() : doing;
    if (what === "window") on.window(dx, dy);
    else if (what === "pan") on.pan(dx, dy);
    else if (what === "zoom") on.zoom(Math.exp(-dy / 150), 0, 0);
    else if (what === "scroll") {
      rest += dy / DRAG_PIXELS_A_SLICE;
      const slices = Math.trunc(rest);
      rest -= slices;
      if (slices) on.scroll(slices);
    }
    on.hover(now);
  });

  const release = (event) => {
    pointers.delete(event.pointerId);
    if (doing === "tool" && isMeasure(getTool())) on.release(at(event));
    if (!pointers.size) doing = null;
    // After a pinch the finger that stays does nothing until it is lifted.
    else if (doing === "pinch") doing = "none";
  };
  element.addEventListener("pointerup", release);
  element.addEventListener("pointercancel", release);
  element.addEventListener("pointerleave", () => {
    if (!pointers.size) on.hover(null);
  });
  element.addEventListener("dblclick", () => {
    if (!isMeasure(getTool())) on.reset();
  });
  element.addEventListener("contextmenu", (event) => event.preventDefault());
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      on.use();
      if (event.ctrlKey) {
        on.zoom(Math.exp(-event.deltaY / 200), ...fromMiddle(at(event)));
        return;
      }
      if (Math.sign(event.deltaY) !== Math.sign(rest)) rest = 0;
      rest += notches(event) ?? event.deltaY / WHEEL_PIXELS;
      const slices = Math.trunc(rest);
      rest -= slices;
      if (slices) on.scroll(slices);
    },
    { passive: false },
  );
}
