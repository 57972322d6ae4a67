// The series of the study, each with a picture and why it was taken; and those that were left out.
// What a file calls its series is read in this browser and never sent.

import { byId, make, show } from "./dom.js";
import { Thumbnails } from "./thumbnails.js";
import { UPRIGHT } from "./turn.js";
import { WHOLE } from "./view_transform.js";

export function makeSeriesList(store) {
  const thumbnails = new Thumbnails();

  function choose(study, i) {
    if (store.get("series") === i) return;
    store.set({
      series: i,
      slice: study.series[i].summary.most_suspicious.any,
      view: WHOLE,
      turn: UPRIGHT,
      slabMm: 0,
      isPlaying: false,
    });
  }

  // The number that the scanner gave it; else its place in the list.
  function nameOf(described, i) {
    const number = described.series_number === null ? `(${i + 1})` : described.series_number;
    return `Series ${number}${described.pass_number > 1 ? `, pass ${described.pass_number}` : ""}`;
  }

  // An element that is filled with the description in a file's header, where there is one.
  function descriptionOf(place) {
    const element = make("span", { class: "described" });
    store.get("sources").header(place).then((header) => {
      element.textContent = header?.seriesDescription ?? "";
    });
    return element;
  }

  function sizeText(series) {
    const [row, column] = series.spacing_mm.map((mm) => mm.toFixed(2));
    return `${series.columns} \u00d7 ${series.rows}, ${row === column ? row : `${column} \u00d7 ${row}`} mm`;
  }

  function factsOf(series) {
    const { kernel, thickness_mm: thickness } = series.described;
    const facts = [];
    if (kernel !== "unknown") facts.push(`${kernel} kernel`);
    if (thickness !== null) facts.push(`${Number(thickness.toFixed(2))} mm thick`);
    const tilt = series.gantry_tilt_deg.toFixed(0).replace("-", "\u2212");
    if (Math.abs(series.gantry_tilt_deg) >= 0.5) facts.push(`gantry tilt ${tilt}\u00b0`);
    return facts;
  }

  function warnedText({ warnings }) {
    return warnings.length === 1 ? "1 warning" : `${warnings.length} warnings`;
  }

  function build() {
    const study = store.get("study");
    if (!study) return;
    thumbnails.clear();
    byId("series-list").replaceChildren(
      ...study.series.map((series, i) =>
        make(
          "li",
          {},
          make(
            "button",
            { type: "button", onclick: () => choose(study, i) },
            thumbnails.make(study.study_id, i, series),
            make(
              "span",
              { class: "series-head" },
              make("b", {}, nameOf(series.described, i)),
              make("span", {}, `${series.num_slices} ${series.num_slices === 1 ? "slice" : "slices"}`),
              descriptionOf(series.slices[0]),
            ),
            make("span", { class: "hint" }, [...factsOf(series), sizeText(series)].join(", ")),
            make("span", { class: "hint" }, `Taken: ${series.chosen}.`),
            series.warnings.length ? make("span", { class: "warned" }, warnedText(series)) : null,
          ),
        ),
      ),
    );
    writeLeftOut(study.left_out, study.series.length);
    mark();
  }

  function writeLeftOut(leftOut, before) {
    show(byId("left-out"), leftOut.length > 0);
    byId("left-out-title").textContent =
      leftOut.length === 1 ? "1 series left out" : `${leftOut.length} series left out`;
    byId("left-out-list").replaceChildren(
      ...leftOut.map((series, i) =>
        make(
          "li",
          {},
          make("span", { class: "file" }, nameOf(series.described, before + i)),
          descriptionOf(series),
          make("span", { class: "why" }, `${series.description}: ${series.reason}.`),
        ),
      ),
    );
  }

  // Which series are shown, and in which pane.
  function mark() {
    const shown = [store.pane(0).get("series"), store.pane(1).get("series")];
    const buttons = byId("series-list").querySelectorAll("button");
    buttons.forEach((button, i) => {
      const isShown = i === shown[0] || (store.get("isDouble") && i === shown[1]);
      button.setAttribute("aria-pressed", String(isShown));
      button.dataset.active = String(i === store.get("series"));
    });
  }

  store.on(["study", "sources"], build);
  store.on(["series", "isDouble"], mark);
}
