// From files to a finished study: sends them, waits while the queue is full, and polls the progress.

import { ApiError, ConnectionLost, getStudy, postFiles } from "./api.js";
import { byId, show } from "./dom.js";
import { sizeText } from "./files.js";
import { announce } from "./messages.js";
import { fillRejected } from "./rejected.js";

const FIRST_POLL_MS = 250;
const SLOWEST_POLL_MS = 2000;
const DEFAULT_WAIT_S = 10;
// A server that is restarted answers again within this time.
const LOST_FOR_MS = 60_000;

const STEPS = ["sending", "queued", "reading", "predicting"];
const TITLES = {
  sending: "Sending the files",
  queued: "Waiting in the queue",
  reading: "Reading the files",
  predicting: "Predicting the slices",
};

function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("Cancelled", "AbortError"));
    });
  });
}

// Shows the step and its progress.
function write(step, done, total, text) {
  const at = STEPS.indexOf(step);
  for (const item of byId("steps").children) {
    const place = STEPS.indexOf(item.dataset.step);
    item.dataset.state = place < at ? "done" : place === at ? "now" : "later";
    if (place === at) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
  const title = byId("work-title");
  if (title.textContent !== TITLES[step]) {
    title.textContent = TITLES[step];
    announce(TITLES[step]);
  }
  const bar = byId("work-progress");
  if (total > 0) {
    bar.max = total;
    bar.value = done;
  } else {
    bar.removeAttribute("value");
  }
  byId("work-text").textContent = text;
}

// Sends until the server accepts it; shows the time to wait while the queue is full.
async function sendUntilTaken(send, signal) {
  for (;;) {
    try {
      return await send();
    } catch (error) {
      if (!(error instanceof ApiError) || !error.isBusy) throw error;
      const seconds = error.retryAfter ?? DEFAULT_WAIT_S;
      announce(`The server's queue is full. Trying again in ${seconds} seconds.`);
      for (let left = seconds; left > 0; left--) {
        write("queued", 0, 0, `The server's queue is full. Trying again in ${left} s.`);
        await sleep(1000, signal);
      }
    }
  }
}

async function untilDone(id, names, signal) {
  let wait = FIRST_POLL_MS;
  let lostSince = null;
  for (;;) {
    try {
      const study = await getStudy(id, signal);
      lostSince = null;
      fillRejected(byId("work-rejected"), study.rejected, names, study.num_files);
      if (study.state === "done" || study.state === "failed") return study;
      const { done, total } = study.progress;
      const what = { queued: "", reading: "files", predicting: "slices" }[study.state] ?? "";
      const text =
        study.state === "queued"
          ? "Another study is being read; this one is next in the queue or soon after."
          : `${done} of ${total} ${what}`;
      write(study.state, done, study.state === "queued" ? 0 : total, text);
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw error;
      lostSince ??= Date.now();
      if (Date.now() - lostSince > LOST_FOR_MS) throw error;
      byId("work-text").textContent = "The connection is lost. Trying again.";
      announce("The connection is lost. Trying again.");
    }
    await sleep(wait, signal);
    wait = Math.min(SLOWEST_POLL_MS, wait * 1.25);
  }
}

// A promise of a finished study. start(signal) posts files, and returns a promise of the answer with
// its study_id; names: as in rejected.js; onStudy(id) is called as soon as the study has an id.
export async function work(start, names, signal, onStudy) {
  show(byId("work-rejected"), false);
  write("sending", 0, 0, "");
  const { study_id: id } = await sendUntilTaken(() => start(signal), signal);
  onStudy(id);
  return untilDone(id, names, signal);
}

// A `start` for `work` that posts files.
export function sendFiles(files) {
  const total = files.reduce((sum, { file }) => sum + file.size, 0);
  const count = files.length === 1 ? "1 file" : `${files.length} files`;
  return (signal) =>
    postFiles(
      files.map(({ file }) => file),
      (sent, size) =>
        write("sending", sent, size, `${count}: ${sizeText(sent)} of ${sizeText(Math.max(size, total))}`),
      signal,
    );
}

// Waits for a study that was sent before this page was loaded.
export function waitFor(id, names, signal) {
  return untilDone(id, names, signal);
}
