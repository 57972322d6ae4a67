// The study: the other studies of its upload, its number of files, and the time until it is deleted.

import { ApiError, getStudy } from "./api.js";
import { probabilityText } from "./classes.js";
import { byId, make, show } from "./dom.js";
import { headerOf, patientText } from "./patient.js";

const SIBLING_MS = 2000;

function timeText(seconds) {
  if (seconds >= 5400) return `${Math.round(seconds / 3600)} hours`;
  if (seconds >= 90) return `${Math.round(seconds / 60)} minutes`;
  return `${Math.max(0, Math.round(seconds))} seconds`;
}

// openStudy(id) opens another study; onExpired() is called when the server has deleted this one.
export function makeStudyCard(store, openStudy, onExpired, onError) {
  let expiresAt = Infinity;
  let isReported = false;

  // An upload of several patients or studies becomes as many studies.
  function writeSiblings() {
    const study = store.get("study");
    const ids = study?.upload ?? [];
    show(byId("sibling-list"), ids.length > 1);
    byId("sibling-list").replaceChildren(
      ...ids.map((id, i) => {
        const button = make(
          "button",
          { type: "button", "aria-pressed": String(id === study.study_id), onclick: () => openStudy(id) },
          `Study ${i + 1} of ${ids.length}`,
        );
        if (ids.length > 1) nameSibling(id, button).catch(onError);
        return make("li", {}, button);
      }),
    );
  }

  // Studies of an upload are predicted one after another: asks until this one is.
  async function nameSibling(id, button) {
    const [study, sources] = [store.get("study"), store.get("sources")];
    try {
      let sibling = id === study.study_id ? study : await getStudy(id);
      while (sibling.state !== "done" && sibling.state !== "failed") {
        await new Promise((resolve) => setTimeout(resolve, SIBLING_MS));
        if (store.get("study") !== study) return;
        sibling = await getStudy(id);
      }
      const name = patientText(await headerOf(sibling, sources));
      const any = sibling.series.map(({ summary }) => summary.max.any);
      const said = any.length ? `any ${probabilityText(Math.max(...any))}` : "nothing to show";
      button.append(make("span", { class: "hint" }, [name, said].filter(Boolean).join(", ")));
    } catch (error) {
      if (!(error instanceof ApiError && error.isGone)) throw error;
      button.disabled = true;
      button.append(make("span", { class: "hint" }, "deleted"));
    }
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
    writeSiblings();
  });
  setInterval(tick, 10_000);
}
