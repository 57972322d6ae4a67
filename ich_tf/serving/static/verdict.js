// What the model says of the series as a whole, above all else: any hemorrhage, the subtypes above
// their operating points, the slice to look at first, and warnings about the series.

import { className, probabilityText, shownOrder } from "./classes.js";
import { byId, make, show } from "./dom.js";

// Of a model that was calibrated to leave exams to people, rather than to miss more than was promised.
const ANSWERS = { yes: "yes", no: "no", abstain: "left to a reader" };

export function makeVerdict(store, panes) {
  const button = byId("verdict-slice");
  button.addEventListener("click", () => {
    const series = store.get("study").series[store.get("series")];
    panes.viewer.scrollTo(series.summary.most_suspicious.any);
  });

  store.on(["study", "series", "model", "classes"], () => {
    const series = store.get("study")?.series[store.get("series")];
    if (!series) return;
    const { max, series_model: whole, decisions, abstention, most_suspicious: where } = series.summary;
    const points = store.get("model")?.thresholds.series ?? {};
    const decided = decisions.any ?? null;
    const value = (whole ?? max).any;
    byId("verdict").dataset.above = String(decided);
    byId("verdict-value").textContent = probabilityText(value);
    byId("verdict-point").textContent =
      decided === null ? "no operating point" : `${decided ? "above" : "below"} ${probabilityText(points.any)}`;
    byId("verdict-point").title = "The operating point for series";
    const answer = abstention?.any ?? null;
    show(byId("verdict-answer"), answer !== null);
    byId("verdict-answer").textContent = answer === null ? "" : `Decision: ${ANSWERS[answer]}`;
    const above = shownOrder(store.get("classes")).filter((key) => key !== "any" && decisions[key]);
    byId("verdict-classes").textContent = above.length
      ? `Above their points: ${above.map((key) => className(key).toLowerCase()).join(", ")}`
      : subtypesText(max, store.get("classes"), decided);
    byId("verdict-source").textContent = whole ? "By the series model. Greatest in" : "The greatest, in";
    button.textContent = `slice ${where.any + 1}`;
    const warnings = series.warnings ?? [];
    show(byId("warnings"), warnings.length > 0);
    byId("warnings").replaceChildren(
      ...warnings.map(({ code, message }) => make("li", { title: code }, message)),
    );
  });
}

function subtypesText(max, classes, decided) {
  if (decided === true) return "No subtype is above its point.";
  const likeliest = classes.filter((key) => key !== "any").sort((a, b) => max[b] - max[a])[0];
  return `Likeliest subtype: ${className(likeliest).toLowerCase()} ${probabilityText(max[likeliest])}`;
}
