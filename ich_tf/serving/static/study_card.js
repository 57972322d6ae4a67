// The study: a list of its series, and of those that were left out, its number of files, and the time until it is deleted.

import { byId, make, show } from "./dom.js";
import { WHOLE } from "./view_transform.js";

function timeText(seconds) {
  if (seconds >= 5400) return `${Math.round(seconds / 3600)} hours`;
  if (seconds >= 90) return `${Math.round(seconds / 60)} minutes`;
  return `${Math.max(0, Math.round(seconds))} seconds`;
}

export function makeStudyCard(store, onExpired) {
  let expiresAt = Infinity;
  let isReported = false;

  function writeLeftOut(leftOut) {
    show(byId("left-out"), leftOut.length > 0);
    byId("left-out-title").textContent =
      leftOut.length === 1 ? "1 series left out" : `${leftOut.length} series left out`;
    byId("left-out-list").replaceChildren(
      ...leftOut.map(({ description, reason }) =>
        make(
          "li",
          {},
          make("span", { class: "file" }, description),
          make("span", { class: "why" }, `${reason}.`),
        ),
      ),
    );
  }

  function write() {
    const study = store.get("study");
    if (!study) return;
    writeLeftOut(study.left_out);
    byId("series-list").replaceChildren(
      ...study.series.map((series, i) => {
        const [row, column] = series.spacing_mm.map((mm) => mm.toFixed(2));
        const tilt = series.gantry_tilt_deg.toFixed(0).replace("-", "\u2212");
        return make(
          "li",
          {},
          make(
            "button",
            {
              type: "button",
              "aria-pressed": String(i === store.get("series")),
              onclick: () =>
                store.set({
                  series: i,
                  slice: series.summary.most_suspicious.any,
                  view: WHOLE,
                }),
            },
            make("b", {}, `Series ${i + 1}`),
            make("span", {}, `${series.num_slices} slices`),
            make(
              "span",
              { class: "hint" },
              `${series.columns} \u00d7 ${series.rows}, ${row === column ? row : `${column} \u00d7 ${row}`} mm`,
            ),
            Math.abs(series.gantry_tilt_deg) >= 0.5
              ? make("span", { class: "hint" }, `Gantry tilt ${tilt}\u00b0`)
              : null,
          ),
        );
      }),
    );
  }

  function tick() {
    const study = store.get("study");
    if (!study) return;
    const left = (expiresAt - Date.now()) / 1000;
    byId("study-note").textContent =
      `${study.num_files} ${study.num_files === 1 ? "file" : "files"} sent. ` +
      (left > 0 ? `The server deletes the study in ${timeText(left)}.` : "The study has expired.");
    if (left <= 0 && !isReported) {
      isReported = true;
      onExpired();
    }
  }

  store.on(["study"], () => {
    const study = store.get("study");
    isReported = false;
    expiresAt = study ? Date.now() + 1000 * study.expires_in_seconds : Infinity;
    tick();
  });
  store.on(["study", "series"], write);
  setInterval(tick, 10_000);
}
