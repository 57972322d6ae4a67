// Messages: one on the page, which stays until it is closed, and texts for screen readers.

import { ApiError, ConnectionLost } from "./api.js";
import { byId, make, show } from "./dom.js";

const box = () => byId("message");

// Shows a message. actions: [{name, run}], buttons that close the message as well.
export function say(text, { actions = [], kind = "error" } = {}) {
  box().dataset.kind = kind;
  byId("message-text").textContent = text;
  byId("message-actions").replaceChildren(
    ...actions.map(({ name, run }) =>
      make(
        "button",
        {
          type: "button",
          onclick: () => {
            hush();
            run();
          },
        },
        name,
      ),
    ),
  );
  show(box(), true);
}

export function hush() {
  show(box(), false);
  byId("message-text").textContent = "";
}

export function listenToMessages() {
  byId("message-close").addEventListener("click", hush);
}

// Lets screen readers speak a text; a repeated text is spoken once.
export function announce(text) {
  byId("live").textContent = text;
}

// Text of an error for people.
export function textOf(error) {
  if (error instanceof ConnectionLost) {
    return `${error.message} Is it still running, and are you still connected?`;
  }
  if (error instanceof ApiError) {
    if (error.isGone) return "The server no longer has this study: it has expired or was deleted.";
    if (error.isBusy) return `The server is busy: ${error.message}`;
    return error.message;
  }
  console.error(error);
  return `Something went wrong in this page: ${error.message}`;
}
