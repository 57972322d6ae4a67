// Measures over a pane's slice: drawn with the mouse, or by the keyboard with a cross. They belong to
// a slice of a series, stay in this page, and end with it.

import { POINTS, ellipseOf, measureTexts } from "./measures.js";
import { pointAt, screenAt } from "./view_transform.js";

const COLOUR = "#ffe066";
const CROSS = "#ffffff";
// Distance in CSS pixels from which a point is dragged, not set; and within which one is grasped.
const DRAG = 4;
const GRASP = 9;
const LABEL = 14;

export const isMeasure = (tool) => tool in POINTS;

const all = new Map(); // "study/series/slice" -> list of measures, those of both panes

export class MeasureLayer {
  #pane;
  #drawing = null; // the measure that is being drawn; its last point follows the pointer
  #drawnOn = ""; // key of the slice that it is drawn on
  #grasped = null; // {points, index} of a point that is dragged
  #pressed = null;
  #cross = null; // place of the keyboard's cross, CSS pixels
  #texts = new WeakMap(); // measure -> {points, picture, texts}

  constructor(pane) {
    this.#pane = pane;
    pane.on(["study", "series", "slice", "tool"], () => this.#stop());
  }

  // Lets both panes draw: they may show the same slice.
  #tell() {
    this.#pane.set({ measured: this.#pane.get("measured") + 1 });
  }

  #key() {
    const study = this.#pane.get("study");
    return study && `${study.study_id}/${this.#pane.get("series")}/${this.#pane.get("slice")}`;
  }

  // The measures of the slice that is shown.
  get here() {
    return all.get(this.#key()) ?? [];
  }

  #stop() {
    // Views hear of changes once a frame: what has begun since, with this tool on this slice, goes on.
    if (this.#drawing?.kind === this.#pane.get("tool") && this.#drawnOn === this.#key()) return;
    this.#drawing = this.#grasped = this.#pressed = this.#cross = null;
    this.#tell();
  }

  // A button goes down at {x, y} of the stage.
  press(at, picture, placed) {
    this.#cross = null;
    if (!this.#drawing) this.#grasped = this.#near(at, picture, placed);
    this.#pressed = at;
    if (!this.#grasped) this.#setPoint(at, picture, placed);
    this.#tell();
  }

  // The pointer moves, whether or not a button is down.
  follow(at, picture, placed) {
    const point = pointAt(picture, placed, at.x, at.y);
    if (this.#grasped) this.#grasped.points[this.#grasped.index] = point;
    else if (this.#drawing) this.#drawing.points[this.#drawing.points.length - 1] = point;
    else return;
    this.#tell();
  }

  // The button goes up: a drag has set a point, a click lets the next point follow the pointer.
  release(at, picture, placed) {
    const pressed = this.#pressed;
    this.#pressed = null;
    if (this.#grasped) this.#grasped = null;
    else if (this.#drawing && pressed && Math.hypot(at.x - pressed.x, at.y - pressed.y) > DRAG) {
      this.#setPoint(at, picture, placed);
    }
    this.#tell();
  }

  #setPoint(at, picture, placed) {
    const point = pointAt(picture, placed, at.x, at.y);
    if (!this.#drawing) {
      this.#drawing = { kind: this.#pane.get("tool"), points: [point, point] };
      this.#drawnOn = this.#key();
      return;
    }
    const { kind, points } = this.#drawing;
    points[points.length - 1] = point;
    if (points.length < POINTS[kind]) {
      points.push(point);
      return;
    }
    all.set(this.#key(), [...this.here, this.#drawing]);
    this.#drawing = null;
  }

  #near(at, picture, placed) {
    for (const { points } of this.here) {
      const index = points.findIndex((point) => {
        const [x, y] = screenAt(picture, placed, point);
        return Math.hypot(x - at.x, y - at.y) <= GRASP;
      });
      if (index >= 0) return { points, index };
    }
    return null;
  }

  // Moves the keyboard's cross, which begins in the middle of the stage.
  moveCross(dx, dy, picture, placed, { clientWidth, clientHeight }) {
    const { x, y } = this.#cross ?? { x: clientWidth / 2, y: clientHeight / 2 };
    const clamp = (value, most) => Math.min(most - 1, Math.max(0, value));
    this.#cross = { x: clamp(x + dx, clientWidth), y: clamp(y + dy, clientHeight) };
    this.follow(this.#cross, picture, placed);
    this.#tell();
    return this.#cross;
  }

  // Sets a point at the keyboard's cross.
  setAtCross(picture, placed, stage) {
    this.#setPoint(this.#cross ?? this.moveCross(0, 0, picture, placed, stage), picture, placed);
    this.#tell();
  }

  // Removes what is being drawn, else the last measure of the slice. Returns whether there was one.
  removeLast() {
    const measures = this.here;
    if (!this.#drawing && !measures.length) return false;
    if (this.#drawing) this.#drawing = null;
    else all.set(this.#key(), measures.slice(0, -1));
    this.#tell();
    return true;
  }

  clear() {
    all.clear();
    this.#drawing = this.#grasped = this.#pressed = this.#cross = null;
  }

  // Draws all measures of the slice that is shown; returns their texts.
  draw(context, series, picture, placed) {
    const measures = this.#drawing ? [...this.here, this.#drawing] : this.here;
    const told = [];
    context.save();
    context.lineCap = context.lineJoin = "round";
    for (const measure of measures) {
      const line = new Path2D();
      const at = measure.points.map((point) => screenAt(picture, placed, point));
      if (measure.kind === "region") this.#tracePath(line, measure, picture, placed);
      else at.forEach(([x, y], i) => (i ? line.lineTo(x, y) : line.moveTo(x, y)));
      for (const [x, y] of at) {
        line.moveTo(x + 3, y);
        line.arc(x, y, 3, 0, 2 * Math.PI);
      }
      stroke(context, line, COLOUR);
      const texts = this.#textsOf(series, picture, measure);
      write(context, texts, ...at.at(-1), placed);
      told.push(texts.join(", "));
    }
    if (this.#cross) {
      const { x, y } = this.#cross;
      stroke(context, new Path2D(`M${x - 12} ${y}h8m8 0h8M${x} ${y - 12}v8m0 8v8`), CROSS);
    }
    context.restore();
    return told;
  }

  // A quarter turn keeps an ellipse's axes along those of the screen.
  #tracePath(line, { points }, picture, placed) {
    const { left, top, wide, high } = ellipseOf(points);
    const [x0, y0] = screenAt(picture, placed, [left, top]);
    const [x1, y1] = screenAt(picture, placed, [left + wide, top + high]);
    const [a, b] = [Math.abs(x1 - x0) / 2, Math.abs(y1 - y0) / 2];
    line.ellipse((x0 + x1) / 2, (y0 + y1) / 2, a, b, 0, 0, 2 * Math.PI);
  }

  #textsOf(series, picture, measure) {
    const key = JSON.stringify(measure.points);
    const known = this.#texts.get(measure);
    if (known?.key === key && known.picture === picture) return known.texts;
    const texts = measureTexts(series, picture, measure);
    this.#texts.set(measure, { key, picture, texts });
    return texts;
  }
}

function stroke(context, line, colour) {
  for (const [width, style] of [[3.5, "rgb(0 0 0 / 0.7)"], [1.6, colour]]) {
    context.lineWidth = width;
    context.strokeStyle = style;
    context.stroke(line);
  }
}

// Beside the last point, within the stage.
function write(context, texts, x, y, { stageWidth, stageHeight }) {
  if (!texts.length) return;
  context.font = `600 ${LABEL}px system-ui, "DejaVu Sans", sans-serif`;
  const wide = Math.max(...texts.map((text) => context.measureText(text).width)) + 12;
  const high = texts.length * (LABEL + 4) + 6;
  const left = Math.max(2, Math.min(stageWidth - wide - 2, x + 10));
  const top = Math.max(2, Math.min(stageHeight - high - 2, y + 8));
  context.fillStyle = "rgb(6 12 16 / 0.78)";
  context.beginPath();
  context.roundRect(left, top, wide, high, 5);
  context.fill();
  context.fillStyle = COLOUR;
  texts.forEach((text, i) => context.fillText(text, left + 6, top + LABEL + 3 + i * (LABEL + 4)));
}
