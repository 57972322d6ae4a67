// Files that are chosen or dropped anywhere on the page.

import { byId, show } from "./dom.js";
import { fromDrop, fromInput } from "./files.js";

// take({files, leftOut}) returns a promise; onError(error) is called with its failure.
export function listenToFiles(take, onError) {
  for (const id of ["files", "folder"]) {
    const input = byId(id);
    byId(`choose-${id}`).addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      const chosen = fromInput(input);
      input.value = "";
      take(chosen).catch(onError);
    });
  }
  const veil = byId("drop-veil");
  const hasFiles = (event) => [...event.dataTransfer.types].includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    show(veil, true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) show(veil, false);
  });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    show(veil, false);
    if (!hasFiles(event)) return;
    try {
      await take(await fromDrop(event.dataTransfer));
    } catch (error) {
      onError(new Error(`the dropped files cannot be read: ${error.message}`));
    }
  });
}
