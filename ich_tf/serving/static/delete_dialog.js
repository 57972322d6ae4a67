// Asks whether a study is to be deleted, and lets the server delete it.

import { ApiError, deleteStudy } from "./api.js";
import { byId } from "./dom.js";

// onDeleted(id) is called afterwards, onError(error) if it cannot be deleted.
export function askToDelete(id, onDeleted, onError) {
  const dialog = byId("delete-dialog");
  dialog.returnValue = "no";
  dialog.showModal();
  dialog.addEventListener(
    "close",
    async () => {
      if (dialog.returnValue !== "yes") return;
      try {
        await deleteStudy(id);
      } catch (error) {
        if (!(error instanceof ApiError && error.isGone)) {
          onError(error);
          return;
        }
      }
      onDeleted(id);
    },
    { once: true },
  );
}
