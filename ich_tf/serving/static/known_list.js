// The studies to go back to, on the start: those of this tab, and those of the server if it lists them.

import { ApiError, getStudies, getStudy } from "./api.js";
import { isAbove, probabilityText } from "./classes.js";
import { byId, make, show } from "./dom.js";
import { headerOf, patientText } from "./patient.js";
import { forget, knownUploads, sourcesOf } from "./visits.js";

const STATES = { receiving: "being sent", queued: "waits", reading: "is read", predicting: "is predicted" };

export function makeKnownList(store, openStudy, onError) {
  let asked = 0;

  async function write() {
    if (store.get("page") !== "start" || !store.get("service")) return;
    const number = ++asked;
    const mine = knownUploads().flatMap(({ ids }) => ids);
    const rows = (await Promise.all(mine.map(describeMine))).filter(Boolean);
    if (store.get("service").lists_studies) {
      const others = (await getStudies()).filter(({ study_id: id }) => !mine.includes(id));
      rows.push(...others.map((study) => describe(study, "")));
    }
    if (number !== asked) return; // a newer list was asked for meanwhile
    show(byId("known"), rows.length > 0);
    byId("known-note").textContent = store.get("service").lists_studies
      ? "All studies that the server keeps. Names are known only of those that this page has sent."
      : "The studies that this tab has opened, until the server deletes them.";
    byId("known-list").replaceChildren(
      ...rows.map(({ id, title, text, isPositive }) =>
        make(
          "li",
          {},
          make(
            "button",
            { type: "button", class: "known", "data-above": String(isPositive), onclick: () => openStudy(id) },
            make("b", {}, title),
            make("span", { class: "hint" }, text),
          ),
        ),
      ),
    );
  }

  async function describeMine(id) {
    let study;
    try {
      study = await getStudy(id);
    } catch (error) {
      if (!(error instanceof ApiError && error.isGone)) throw error;
      forget(id);
      return null;
    }
    const any = study.series.map(({ summary }) => summary.max.any);
    const decisions = study.series.map(({ summary }) => summary.decisions.any);
    const listed = {
      ...study,
      num_series: study.series.length,
      num_slices: study.series.reduce((sum, series) => sum + series.num_slices, 0),
      any: any.length ? Math.max(...any) : null,
      decision: decisions.includes(true) || (decisions.includes(false) ? false : null),
    };
    const header = study.series.length ? await headerOf(study, sourcesOf(id)) : null;
    return describe(listed, patientText(header));
  }

  function describe(study, name) {
    const time = new Date(study.received_at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const parts = [];
    if (study.state === "done") {
      const series = study.num_series === 1 ? "1 series" : `${study.num_series} series`;
      parts.push(`${series}, ${study.num_slices} ${study.num_slices === 1 ? "slice" : "slices"}`);
      if (study.any !== null) parts.push(`any hemorrhage up to ${probabilityText(study.any)}`);
      if (study.decision !== null) parts.push(study.decision ? "above the operating point" : "below the operating point");
    } else parts.push(STATES[study.state] ?? "failed");
    const sent = `sent at ${time}`;
    return {
      id: study.study_id,
      title: name || `Study ${sent}`,
      text: [...(name ? [sent] : []), ...parts].join(", "),
      isPositive: study.decision === true,
    };
  }

  store.on(["page", "service"], () => write().catch(onError));
}
