// The page: joins its parts, and changes from start to work to study.

import { ApiError, deleteStudy, getModel, getSamples, postSample, setTokenAsker } from "./api.js";
import { className, probabilityText } from "./classes.js";
import { byId, make, show } from "./dom.js";
import { makeDownloads } from "./downloads.js";
import { fromDrop, fromInput, isZip } from "./files.js";
import { makeHeatControls } from "./heat_controls.js";
import { listenToKeys } from "./keys.js";
import { announce, hush, listenToMessages, say, textOf } from "./messages.js";
import { makeModelCard } from "./model_card.js";
import { makeOutlineControls } from "./outline_controls.js";
import { makeProbabilities } from "./probabilities.js";
import { fillRejected, makeRejected } from "./rejected.js";
import { makeStrip } from "./strip.js";
import { Store } from "./store.js";
import { makeStudyCard } from "./study_card.js";
import { makeSummary } from "./summary.js";
import { askForToken } from "./token_dialog.js";
import { makeToolbar } from "./toolbar.js";
import { sendFiles, waitFor, work } from "./upload.js";
import { WHOLE } from "./view_transform.js";
import { Viewer } from "./viewer.js";
import { PRESETS } from "./windowing.js";
import { zipNames } from "./zip_names.js";

// A reload of the page returns to its study; names of files stay in this tab.
const SESSION_KEY = "ich_tf.study";
// Delay after the last scroll until a screen reader announces the slice; sliders announce
// themselves.
const SPEAK_MS = 400;

const store = new Store({
  page: "loading", // loading, start, work, study
  model: null,
  classes: [],
  study: null,
  names: [], // {name, entries} of the files that were sent, by index
  series: 0,
  slice: 0,
  window: { center: PRESETS[0].center, width: PRESETS[0].width },
  view: WHOLE,
  tool: "window",
  heatOn: false,
  heatClass: "any",
  heatOpacity: 0.6,
  heatPeak: null,
  outlinesOn: true,
  outlinesHidden: new Set(), // classes whose outlines are switched off
  outlineOpacity: 0.9,
  outlineFill: true,
});

let abort = new AbortController();
let currentId = null;

function fail(error) {
  if (error.name === "AbortError") return;
  if (error instanceof ApiError && error.isGone && store.get("page") === "study") {
    say(textOf(error), { actions: [{ name: "Open another", run: toStart }] });
    return;
  }
  const again = store.get("page") === "study" ? [{ name: "Try again", run: () => viewer.retry() }] : [];
  say(textOf(error), { actions: again });
}

const viewer = new Viewer(store, fail);

function remember(id, names) {
  currentId = id;
  if (id === null) sessionStorage.removeItem(SESSION_KEY);
  else {
    try {
      sessionStorage.setItem(SESSION_KEY, JSON.stringify({ id, names }));
    } catch {
      // Thousands of long names can exceed what a tab may store; then a reload returns to the start.
      sessionStorage.removeItem(SESSION_KEY);
    }
  }
}

function toStart() {
  abort.abort();
  abort = new AbortController();
  remember(null);
  viewer.clear();
  store.set({ page: "start", study: null, names: [], heatOn: false });
}

function toStudy(study, names) {
  viewer.clear();
  const first = study.series[0];
  store.set({
    page: "study",
    study,
    names,
    series: 0,
    slice: first.summary.most_suspicious.any,
    view: WHOLE,
    heatOn: false,
  });
  announce(
    `Done: ${study.series.length} series, ${study.left_out.length} left out, ` +
      `${study.rejected.length} files not used.`,
  );
}

// Runs promiseOf(signal), a promise of a finished study, and shows the study or the failure.
async function open(promiseOf, names) {
  abort.abort();
  abort = new AbortController();
  const { signal } = abort;
  hush();
  show(byId("start-rejected"), false);
  store.set({ page: "work" });
  try {
    const study = await promiseOf(signal);
    if (study.state === "done" && study.series.length) {
      toStudy(study, names);
      return;
    }
    remember(null);
    store.set({ page: "start" });
    showFailure(study, names);
  } catch (error) {
    if (error.name === "AbortError") return;
    const id = currentId;
    remember(null);
    store.set({ page: "start" });
    // The server may still have the study: files that were sent are not sent twice.
    const resume = (s) => waitFor(id, names, s);
    const run = () => {
      if (id !== null) remember(id, names);
      open(id === null ? promiseOf : resume, names);
    };
    const hopeless = error instanceof ApiError && error.status < 500;
    say(textOf(error), { actions: hopeless ? [] : [{ name: "Try again", run }] });
  }
}

function showFailure(study, names) {
  say(study.error?.message ?? "None of the files is an axial head CT slice.");
  fillRejected(byId("start-rejected"), study.rejected, names, study.num_files);
}

async function openFiles({ files, leftOut }) {
  if (!files.length) {
    say(leftOut ? "The folder holds only hidden files." : "The folder holds no files.");
    return;
  }
  const names = await Promise.all(
    files.map(async ({ file, name }) => ({
      name,
      entries: isZip(file) ? await zipNames(file) : [],
    })),
  );
  const send = sendFiles(files);
  open((signal) => work(send, names, signal, (id) => remember(id, names)), names);
}

function openSample({ name, description, num_files: count }) {
  const names = Array.from({ length: count }, (_, i) => ({
    name: `${name}, file ${i + 1}`,
    entries: [],
  }));
  announce(description);
  open((signal) => work((s) => postSample(name, s), names, signal, (id) => remember(id, names)), names);
}

async function cancel() {
  const id = currentId;
  toStart();
  if (id === null) return;
  try {
    await deleteStudy(id);
  } catch (error) {
    if (!(error instanceof ApiError)) fail(error);
  }
}

function askToDelete() {
  const dialog = byId("delete-dialog");
  dialog.returnValue = "no";
  dialog.showModal();
  dialog.addEventListener(
    "close",
    async () => {
      if (dialog.returnValue !== "yes" || !store.get("study")) return;
      const { study_id: id } = store.get("study");
      try {
        await deleteStudy(id);
      } catch (error) {
        if (!(error instanceof ApiError && error.isGone)) {
          fail(error);
          return;
        }
      }
      toStart();
      say("The study was deleted from the server.", { kind: "good" });
    },
    { once: true },
  );
}

function listenToFiles() {
  for (const id of ["files", "folder"]) {
    const input = byId(id);
    byId(`choose-${id}`).addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      const chosen = fromInput(input);
      input.value = "";
      openFiles(chosen).catch(fail);
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
      await openFiles(await fromDrop(event.dataTransfer));
    } catch (error) {
      say(`The dropped files cannot be read: ${error.message}`);
    }
  });
}

function listenToPages() {
  byId("new-study").addEventListener("click", toStart);
  byId("delete-study").addEventListener("click", askToDelete);
  byId("work-cancel").addEventListener("click", cancel);
  let before = null;
  store.on(["page"], () => {
    const page = store.get("page");
    for (const id of ["start", "work", "study"]) show(byId(id), id === page);
    show(byId("new-study"), page === "study");
    show(byId("delete-study"), page === "study");
    document.body.dataset.page = page;
    if (page === "study") {
      viewer.draw();
      byId("canvas").focus({ preventScroll: true });
    } else if (before !== null && page === "start") byId("choose-files").focus();
    else if (page === "work") byId("work-cancel").focus();
    before = page;
  });
}

function listenToSlices() {
  let timer = 0;
  store.on(["slice"], () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const series = store.get("study")?.series[store.get("series")];
      if (!series || document.activeElement?.matches("#slice, #strip")) return;
      const slice = store.get("slice");
      const key = store.get("heatClass");
      const value = series.probabilities[slice][store.get("classes").indexOf(key)];
      announce(`Slice ${slice + 1} of ${series.num_slices}. ${className(key)} ${probabilityText(value)}.`);
    }, SPEAK_MS);
  });
}

function showSamples(samples) {
  show(byId("samples"), samples.length > 0);
  byId("sample-list").replaceChildren(
    ...samples.map((sample) =>
      make(
        "li",
        {},
        make(
          "button",
          { type: "button", class: "sample", onclick: () => openSample(sample) },
          make("b", {}, sample.name),
          make("span", { class: "hint" }, sample.description),
          make("span", { class: "count" }, `${sample.num_files} files`),
        ),
      ),
    ),
  );
}

async function begin() {
  setTokenAsker(askForToken);
  listenToMessages();
  listenToPages();
  listenToFiles();
  listenToSlices();
  listenToKeys(store, viewer);
  makeToolbar(store, viewer);
  makeStrip(store, viewer);
  makeProbabilities(store);
  makeHeatControls(store);
  makeOutlineControls(store);
  makeSummary(store, viewer);
  makeRejected(store);
  makeStudyCard(store, () => {
    say("The study has expired and was deleted from the server.", {
      actions: [{ name: "Open another", run: toStart }],
    });
  });
  makeModelCard(store);
  makeDownloads(store, fail);
  try {
    const model = await getModel();
    store.set({ model, classes: model.classes });
    if (model.mask_thresholds) {
      byId("lead").textContent =
        "Every slice with the probabilities of five kinds of bleeding, their outlines and volumes by the model, and heat maps of its attention.";
    }
    showSamples(await getSamples());
  } catch (error) {
    store.set({ page: "start" });
    say(textOf(error), { actions: [{ name: "Try again", run: () => location.reload() }] });
    return;
  }
  const before = sessionStorage.getItem(SESSION_KEY);
  if (before === null) {
    store.set({ page: "start" });
    return;
  }
  const { id, names } = JSON.parse(before);
  currentId = id;
  await open((signal) => waitFor(id, names, signal), names);
}

begin();
