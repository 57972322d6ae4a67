// Summary of the series, a row for each class; and a table of all its slices.

import { className, isAbove, probabilityText, shownOrder } from "./classes.js";
import { byId, make } from "./dom.js";
import { volumeText } from "./outlines.js";

// All columns but the first and these hold numbers.
const WORDS = ["Point", "Decision"];
function heading(...names) {
  const cells = names.map((name, i) =>
    make("th", { scope: "col", class: i && !WORDS.includes(name) ? "number" : null }, name),
  );
  return make("thead", {}, make("tr", {}, ...cells));
}

export function makeSummary(store, panes) {
  const currentSeries = () => store.get("study")?.series[store.get("series")] ?? null;
  const details = byId("all-details");

  function pointTitle(key) {
    const point = store.get("model")?.thresholds.series[key] ?? null;
    return point === null
      ? "No operating point for series"
      : `Operating point for series: ${probabilityText(point)}`;
  }

  // The interval of the model's error, where calibration has fitted one; how far the volume follows
  // from the slices; and the estimate of the bedside.
  function volumeTitle({ low_ml: low, high_ml: high, abc2_ml: abc2, ...likely }, key) {
    if (low[key] === null) return "A slice of unknown thickness has no volume.";
    // Studies that an older server predicted have no such kinds.
    const [least, most] = [likely.likely_low_ml?.[key] ?? null, likely.likely_high_ml?.[key] ?? null];
    const error =
      least === null
        ? ""
        : `${volumeText(least)} to ${volumeText(most)} ml, by the model's error in nine of ten validation series; `;
    return (
      `${className(key)}: ${error}${volumeText(low[key])} to ${volumeText(high[key])} ml, as the slices' distance ` +
      `leaves open; ${volumeText(abc2[key])} ml by ABC/2.`
    );
  }

  function write() {
    const series = currentSeries();
    if (!series) return;
    const { max, series_model: whole, decisions, abstention, most_suspicious: where, volumes } = series.summary;
    const decides = Object.values(decisions).some((decision) => decision !== null);
    const rows = shownOrder(store.get("classes")).map((key) => {
      const decided = decisions[key] ?? null;
      const go = make(
        "button",
        {
          type: "button",
          class: "link",
          title: "Go to this slice",
          "aria-label": `${className(key)}: go to slice ${where[key] + 1}`,
          onclick: () => {
            panes.viewer.scrollTo(where[key]);
            store.set({ heatClass: key });
          },
        },
        String(where[key] + 1),
      );
      return make(
        "tr",
        { "data-class": key, "data-above": String(decided) },
        make("th", { scope: "row" }, className(key)),
        make("td", { class: "number" }, probabilityText(max[key])),
        make("td", { class: "number" }, go),
        whole ? make("td", { class: "number" }, probabilityText(whole[key])) : null,
        volumes
          ? make("td", { class: "number", title: volumeTitle(volumes, key) }, volumeText(volumes.ml[key]))
          : null,
        abstention
          ? make("td", { title: pointTitle(key) }, abstention[key] === "abstain" ? "reader" : abstention[key])
          : decides
            ? make("td", { title: pointTitle(key) }, decided === null ? "\u2013" : decided ? "above" : "below")
            : null,
      );
    });
    const names = ["Class", "Max", "Slice"];
    if (whole) names.push("Model");
    if (volumes) names.push("ml");
    if (abstention) names.push("Decision");
    else if (decides) names.push("Point");
    byId("summary").classList.toggle("six", names.length > 5);
    byId("summary").replaceChildren(
      make(
        "caption",
        { class: "unseen" },
        `Greatest probability ${volumes ? "and volume " : ""}of each class in this series`,
      ),
      heading(...names),
      make("tbody", {}, ...rows),
    );
    const noisy = series.summary.noisy_or.any;
    byId("summary-note").textContent =
      (whole ? "\u201cModel\u201d: the series model's probability for the whole series. " : "") +
      (abstention
        ? "\u201cDecision\u201d: yes or no where the calibration promises few misses, else left to a reader. "
        : decides
          ? "\u201cPoint\u201d: above or below the operating point for series. "
          : "") +
      (volumes ? `\u201cml\u201d: volume that the model marks. ${volumeTitle(volumes, "any")} ` : "") +
      `If slices were independent, the probability of any bleed would be ${probabilityText(noisy)} ` +
      "(noisy-or). They are not, so that this is too high.";
    table();
  }

  // A series can have a thousand slices, so that the table is made only when it is opened.
  function table() {
    const series = currentSeries();
    if (!details.open || !series) return;
    const order = shownOrder(store.get("classes"));
    const points = store.get("model")?.thresholds.slice ?? {};
    const rows = series.probabilities.map((values, i) =>
      make(
        "tr",
        {},
        make(
          "th",
          { scope: "row" },
          make("button", { type: "button", class: "link", onclick: () => panes.viewer.scrollTo(i) }, String(i + 1)),
        ),
        ...order.map((key) => {
          const value = values[store.get("classes").indexOf(key)];
          const above = isAbove(value, points[key]);
          return make(
            "td",
            { class: "number", "data-above": String(above) },
            probabilityText(value),
            above ? make("span", { class: "unseen" }, " above") : null,
          );
        }),
      ),
    );
    byId("all-table").replaceChildren(
      make("caption", { class: "unseen" }, "Probabilities of each slice of this series"),
      heading("Slice", ...order.map(className)),
      make("tbody", {}, ...rows),
    );
  }

  details.addEventListener("toggle", table);
  store.on(["study", "series", "model", "classes"], write);
}
