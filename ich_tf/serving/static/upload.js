// From files to a finished study: sends them, waits while the queue is full, and polls the progress.

import { ApiError, ConnectionLost, deleteStudy, getStudy, postFiles } from "./api.js";
import { byId, show } from "./dom.js";
import { sizeText } from "./files.js";
import { announce } from "./messages.js";
import { fillRejected } from "./rejected.js";

const FIRST_POLL_MS = 250;
const SLOWEST_POLL_MS = 2000;
const DEFAULT_WAIT_S = 10;
// Bytes that a form adds to each file, at most, and the same for the form's end.
const PART_HEADER = 256;
// A server that is restarted answers again within this time.
const LOST_FOR_MS = 60_000;

const STEPS = ["receiving", "queued", "reading", "predicting"];
const TITLES = {
  receiving: "Sending the files",
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

// A promise of a study once it is done or failed. names: as in rejected.js.
export async function untilDone(id, names, signal) {
  let wait = FIRST_POLL_MS;
  let lostSince = null;
  for (;;) {
    try {
      const study = await getStudy(id, signal);
      lostSince = null;
      fillRejected(byId("work-rejected"), study.rejected, names, study.num_files);
      if (study.state === "done" || study.state === "failed") return study;
      const { done, total } = study.progress;
      const what = { reading: "files", predicting: "slices" }[study.state];
      const waits = "Another study is being read; this one is next in the queue or soon after.";
      const text = what ? `${done} of ${total} ${what}` : study.state === "queued" ? waits : "";
      write(study.state, done, what ? total : 0, text);
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
  write("receiving", 0, 0, "");
  const { study_id: id } = await sendUntilTaken(() => start(signal), signal);
  onStudy(id);
  return untilDone(id, names, signal);
}

// Files in parts that the server takes at once, by bytes, in their order: a brain and a bone series of
// 300 thin slices each are more than one upload may be. mostBytes: of a part.
export function partsOf(files, mostBytes) {
  const parts = [];
  let left = 0;
  for (const { file } of files) {
    const size = file.size + PART_HEADER;
    if (!parts.length || size > left) {
      parts.push([]);
      left = mostBytes - PART_HEADER;
    }
    parts.at(-1).push(file);
    left -= size;
  }
  return parts;
}

// A `start` for `work` that posts files, in parts where they are more than mostBytes.
export function sendFiles(files, mostBytes) {
  const parts = partsOf(files, mostBytes);
  const total = files.reduce((sum, { file }) => sum + file.size, 0);
  const count = files.length === 1 ? "1 file" : `${files.length} files`;
  return async (signal) => {
    let [answer, before] = [null, 0];
    try {
      for (const [i, part] of parts.entries()) {
        const onProgress = (sent) => {
          const text = `${count}: ${sizeText(Math.min(total, before + sent))} of ${sizeText(total)}`;
          write("receiving", Math.min(total, before + sent), total, text);
        };
        const hasMore = i < parts.length - 1;
        answer = await postFiles(part, { id: answer?.study_id ?? null, hasMore, onProgress, signal });
        before += part.reduce((sum, { size }) => sum + size, 0);
      }
    } catch (error) {
      // What has come is of no use; the server would drop it by itself, later.
      if (answer) deleteStudy(answer.study_id).catch(() => {});
      throw error;
    }
    return answer;
  };
}
