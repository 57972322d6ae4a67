// Asks for the token of a service that was started with one.

import { byId } from "./dom.js";

// A promise of what is typed. A token that was refused is said to have been.
export function askForToken(refused) {
  const dialog = byId("token-dialog");
  const field = byId("token");
  byId("token-text").textContent = refused
    ? "The service does not take this token. Type the one that it was started with."
    : "This service was started with a token. It is kept in this tab until you close it.";
  field.value = "";
  return new Promise((resolve) => {
    // Escape must not leave requests waiting for ever without a way to answer. A browser lets a page
    // keep a dialog open once, not twice: then it is opened anew.
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
