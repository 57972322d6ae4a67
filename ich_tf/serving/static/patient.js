// The patient and the descriptions of a study, from the headers of its files in this browser.

import { dateText, nameText } from "./dicom_header.js";
import { byId, make, show } from "./dom.js";

// A promise of the header of a study's first slice; null where it is not known.
export function headerOf(study, sources) {
  const slice = study.series[0]?.slices[0] ?? study.left_out[0];
  return slice ? sources.header(slice) : Promise.resolve(null);
}

// "Olsen, Kari", or her id, or "" where neither is known.
export function patientText(header) {
  return header ? nameText(header.patientName) || header.patientId : "";
}

export function makePatient(store) {
  store.on(["study", "sources"], async () => {
    const [study, sources] = [store.get("study"), store.get("sources")];
    if (!study) return;
    const header = await headerOf(study, sources);
    if (store.get("study") !== study) return; // another one was opened meanwhile
    const facts = header
      ? [
          ["Name", nameText(header.patientName)],
          ["Id", header.patientId],
          ["Born", dateText(header.birthDate)],
          ["Sex", header.sex],
          ["Study", [dateText(header.studyDate), header.studyDescription].filter(Boolean).join(", ")],
        ].filter(([, text]) => text)
      : [];
    show(byId("patient"), facts.length > 0);
    byId("patient").replaceChildren(
      ...facts.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]),
    );
    byId("patient-note").textContent = facts.length
      ? "Read from the files in this browser. Never sent."
      : "No name is known here: the files have none, or this page was loaded again.";
    for (const note of document.querySelectorAll('[data-part="patient"]')) {
      note.textContent = patientText(header);
    }
  });
}
