// The dialog that asks for the service's token.

import { byId } from "./dom.js";

// A promise of the token that is typed; refused: whether the last one was not accepted.
export function askForToken(refused) {
  const dialog = byId("token-dialog");
  const field = byId("token");
  byId("token-text").textContent = refused
    ? "The service does not take this token. Type the one that it was started with."
    : "This service was started with a token. It is kept in this tab until you close it.";
  field.value = "";
  return new Promise((resolve) => {
    // Requests wait for the token, so that Escape must not close the dialog for good. Browsers let a
    // page prevent the first Escape but not the second, so that the dialog is opened again.
    const open = () => {
      dialog.showModal();
      field.focus();
    };
    dialog.addEventListener("close", open);
    byId("token-form").addEventListener(
      "submit",
      () => {
        dialog.removeEventListener("close", open);
        resolve(field.value.trim());
      },
      { once: true },
    );
    open();
  });
}
