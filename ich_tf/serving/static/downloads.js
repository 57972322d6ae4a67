// Downloads of results. They are fetched, not linked: a link could not send the token.

import { getBlob, slicePath } from "./api.js";
import { className } from "./classes.js";
import { byId, make, show } from "./dom.js";
import { hasMasks } from "./outline_controls.js";

async function save(path, name) {
  const address = URL.createObjectURL(await getBlob(path));
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  // Browsers begin to read after the click returns.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

// The beginning of a file's name: when the server got the study, and which of its upload it is, so that
// files of two studies differ. Nothing of a patient.
function stemOf({ received_at: received, upload, study_id: id }) {
  const time = received.slice(0, 19).replaceAll("-", "").replaceAll(":", "").replace("T", "-");
  return `ich_tf_${time}${upload.length > 1 ? `_study${upload.indexOf(id) + 1}` : ""}`;
}

export function makeDownloads(store, onError) {
  const study = () => `api/studies/${encodeURIComponent(store.get("study").study_id)}`;
  const number = () => store.get("series") + 1;
  const stem = () => stemOf(store.get("study"));
  const choices = [
    {
      name: "CSV",
      what: "A row for each slice",
      start: () => save(`${study()}/results.csv`, `${stem()}_results.csv`),
    },
    {
      name: "JSON",
      what: "All series, slices and the model",
      start: () => save(`${study()}/results.json`, `${stem()}_results.json`),
    },
    {
      name: "DICOM report",
      what: "Structured Report of this series",
      start: () =>
        save(`${study()}/series/${store.get("series")}/report.dcm`, `${stem()}_report_${number()}.dcm`),
    },
    {
      name: "DICOM heat map",
      what: () => `This slice, ${className(store.get("heatClass")).toLowerCase()}`,
      start: () => {
        const slice = store.get("slice");
        const key = store.get("heatClass");
        return save(
          `${slicePath(store.get("study").study_id, store.get("series"), slice)}/heatmaps/${key}.dcm`,
          `${stem()}_heatmap_${number()}_${slice + 1}_${key}.dcm`,
        );
      },
    },
  ];
  choices.push({
    name: "Mask",
    what: "PNG of this slice, bit k for class k",
    isThere: () => hasMasks(store),
    start: () => {
      const slice = store.get("slice");
      return save(
        `${slicePath(store.get("study").study_id, store.get("series"), slice)}/mask.png`,
        `${stem()}_mask_${number()}_${slice + 1}.png`,
      );
    },
  });
  const updates = [];
  byId("downloads").replaceChildren(
    ...choices.map(({ name, what, isThere, start }) => {
      const text = make("span", { class: "hint" });
      const button = make("button", { type: "button" }, make("b", {}, name), text);
      button.addEventListener("click", async () => {
        button.disabled = true;
        try {
          await start();
        } catch (error) {
          onError(error);
        } finally {
          button.disabled = false;
        }
      });
      const item = make("li", {}, button);
      updates.push(() => {
        text.textContent = typeof what === "string" ? what : what();
        show(item, isThere?.() ?? true);
      });
      return item;
    }),
  );
  const write = () => updates.forEach((update) => update());
  store.on(["study", "series", "heatClass"], write);
  write();
}
