// The model's name, version and hash, in a card and in the bar.

import { byId, make } from "./dom.js";

export function makeModelCard(store) {
  const dialog = byId("model-dialog");
  byId("about-model").addEventListener("click", () => dialog.showModal());
  store.on(["model"], () => {
    const model = store.get("model");
    if (!model) return;
    const rows = [
      ["Name", model.name],
      ["Version", model.version],
      ["SHA-256", make("code", { class: "hash", title: model.sha256 }, model.sha256)],
      ["Calibration's SHA-256", model.calibration_sha256 ? make("code", { class: "hash" }, model.calibration_sha256) : "none"],
      ["Description", model.description],
      ["Probabilities", model.postprocessing],
      ["Calibrated", model.calibrated ? "yes, on validation patients" : "no"],
    ];
    for (const id of ["model-list", "model-dialog-list"]) {
      byId(id).replaceChildren(
        ...rows.flatMap(([name, value]) => [
          make("dt", {}, name),
          make("dd", {}, value instanceof Node ? value.cloneNode(true) : String(value)),
        ]),
      );
    }
    byId("model-chip").textContent = `${model.name} ${model.version}`;
    byId("about-model").title = `SHA-256 ${model.sha256}`;
  });
}
