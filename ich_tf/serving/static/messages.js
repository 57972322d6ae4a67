// What is said to the person: a message that stays until it is closed, and words for screen readers.

import { ApiError, ConnectionLost } from "./api.js";
import { byId, make, show } from "./dom.js";

const box = () => byId("message");

// actions: [{name, run}]; each closes the message.
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

// Words for a screen reader; the same words twice are said once.
export function announce(text) {
  byId("live").textContent = text;
}

// An error as a person should read it.
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
