// The page: joins its parts, and changes from start to work to study.

import { ApiError, deleteStudy, getModel, getSamples, getService, postSample, setTokenAsker } from "./api.js";
import { makeCine } from "./cine.js";
import { askToDelete } from "./delete_dialog.js";
import { byId, show } from "./dom.js";
import { makeDownloads } from "./downloads.js";
import { sizeText } from "./files.js";
import { makeHeatControls } from "./heat_controls.js";
import { listenToFiles } from "./intake.js";
import { listenToKeys } from "./keys.js";
import { makeKnownList } from "./known_list.js";
import { announce, hush, listenToMessages, say, textOf } from "./messages.js";
import { makeModelCard } from "./model_card.js";
import { makeOutlineControls } from "./outline_controls.js";
import { Panes } from "./panes.js";
import { makePatient } from "./patient.js";
import { makeProbabilities } from "./probabilities.js";
import { makeRail } from "./rail.js";
import { fillRejected, makeRejected } from "./rejected.js";
import { showSamples } from "./samples.js";
import { makeSeriesList } from "./series_list.js";
import { Sources } from "./sources.js";
import { speakSlices } from "./spoken_slices.js";
import { makeStrip } from "./strip.js";
import { Store } from "./store.js";
import { makeStudyCard } from "./study_card.js";
import { makeSummary } from "./summary.js";
import { askForToken } from "./token_dialog.js";
import { makeToolbar } from "./toolbar.js";
import { UPRIGHT } from "./turn.js";
import { sendFiles, untilDone, work } from "./upload.js";
import { makeVerdict } from "./verdict.js";
import { WHOLE } from "./view_transform.js";
import * as visits from "./visits.js";
import { PRESETS } from "./windowing.js";

const MIB = 1 << 20;

const store = new Store(
  {
    page: "loading", // loading, start, work, study
    service: null, // limits of the server
    model: null, // of the study that is shown; before, of the server
    classes: [],
    study: null,
    sources: new Sources([]), // the files of the study
    tool: "window",
    heatOn: false,
    heatClass: "any",
    heatOpacity: 0.6,
    heatBelow: false, // heat maps below the operating point, too
    outlinesOn: true,
    outlinesHidden: new Set(), // classes whose outlines are switched off
    outlineOpacity: 0.9,
    outlineFill: true,
    measured: 0, // number of changes of measures
    isDouble: false,
    isLinked: true,
    isPlaying: false,
    cineRate: 10,
  },
  {
    series: 0,
    slice: 0,
    window: { center: PRESETS[0].center, width: PRESETS[0].width },
    view: WHOLE,
    turn: UPRIGHT,
    isInverted: false,
    slabMm: 0,
    heat: null, // the heat map that is drawn
  },
  2,
);

let abort = new AbortController();
let serversModel = null;

function fail(error) {
  if (error.name === "AbortError") return;
  if (error instanceof ApiError && error.isGone && store.get("page") === "study") {
    say(textOf(error), { actions: [{ name: "Open another", run: toStart }] });
    return;
  }
  const again = store.get("page") === "study" ? [{ name: "Try again", run: () => panes.retry() }] : [];
  say(textOf(error), { actions: again });
}

const panes = new Panes(store, fail);

function closeStudy(page) {
  abort.abort();
  abort = new AbortController();
  visits.markSending(false);
  panes.clear();
  store.set({ page, study: null, sources: new Sources([]), model: serversModel, heatOn: false });
}

// The study that was open stays on the server, and in the list of the start.
function toStart() {
  visits.writeAddress(null);
  closeStudy("start");
}

function toStudy(study, sources) {
  visits.remember(study.upload, sources);
  visits.writeAddress(study.study_id, { replace: true });
  const first = study.series[0];
  const model = study.model ?? serversModel;
  const slice = first.summary.most_suspicious.any;
  const upright = { view: WHOLE, turn: UPRIGHT, isInverted: false, slabMm: 0 };
  store.set({ page: "study", study, sources, model, classes: model.classes, series: 0, slice, ...upright });
  announce(
    `Done: ${study.series.length} series, ${study.left_out.length} left out, ` +
      `${study.rejected.length} files not used.`,
  );
}

const isReadable = (study) => study.state === "done" && study.series.length > 0;

// The study, or the first of its upload that can be shown if it cannot.
async function readableOf(study, names, signal) {
  for (const id of isReadable(study) ? [] : study.upload) {
    const other = id === study.study_id ? study : await untilDone(id, names, signal);
    if (isReadable(other)) return other;
  }
  return study;
}

// Runs promiseOf(signal), a promise of a finished study, and shows the study or the failure.
async function open(promiseOf, sources) {
  hush();
  closeStudy("work");
  const { signal } = abort;
  show(byId("start-rejected"), false);
  try {
    const study = await readableOf(await promiseOf(signal), sources.names, signal);
    if (isReadable(study)) {
      toStudy(study, sources);
      return;
    }
    visits.forget(study.study_id);
    visits.writeAddress(null, { replace: true });
    store.set({ page: "start" });
    say(study.error?.message ?? "None of the files is an axial head CT slice.");
    fillRejected(byId("start-rejected"), study.rejected, sources.names, study.num_files);
  } catch (error) {
    if (error.name === "AbortError") return;
    // The server may still have the study: files that were sent are not sent twice.
    const id = visits.studyInAddress();
    visits.markSending(false);
    visits.writeAddress(null, { replace: true });
    store.set({ page: "start" });
    const again = () => (id === null ? open(promiseOf, sources) : openStudy(id));
    const hopeless = error instanceof ApiError && error.status < 500;
    say(textOf(error), { actions: hopeless ? [] : [{ name: "Try again", run: again }] });
  }
}

// Opens a study that the server has.
function openStudy(id) {
  const sources = visits.sourcesOf(id);
  visits.writeAddress(id);
  return open((signal) => untilDone(id, sources.names, signal), sources);
}

// Sends by start(signal), and opens what comes of it.
function openNew(start, sources) {
  visits.writeAddress(null);
  const onStudy = (id) => {
    visits.markSending(false);
    visits.remember([id], sources);
    visits.writeAddress(id);
  };
  return open((signal) => {
    visits.markSending(true);
    return work(start, sources.names, signal, onStudy);
  }, sources);
}

async function openFiles({ files, leftOut }) {
  if (!files.length) {
    say(leftOut ? "The folder holds only hidden files." : "The folder holds no files.");
    return;
  }
  const most = store.get("service").body_mb * MIB;
  const large = files.find(({ file }) => file.size > most);
  if (large) {
    say(
      `${large.name} has ${sizeText(large.file.size)}; the server takes files of at most ${sizeText(most)}. ` +
        "Unpack it and choose the folder: its files are sent in parts.",
    );
    return;
  }
  const sources = await Sources.of(files);
  await openNew(sendFiles(files, most), sources);
}

function openSample({ name, description, num_files: count }) {
  const names = Array.from({ length: count }, (_, i) => ({ name: `${name}, file ${i + 1}`, entries: [] }));
  announce(description);
  openNew((signal) => postSample(name, signal), new Sources(names));
}

function onDeleted(id) {
  visits.forget(id);
  toStart();
  say("The study was deleted from the server.", { kind: "good" });
}

async function cancel() {
  const id = visits.studyInAddress();
  toStart();
  if (id === null) return;
  visits.forget(id);
  try {
    await deleteStudy(id);
  } catch (error) {
    if (!(error instanceof ApiError)) fail(error);
  }
}

function listenToPages() {
  byId("new-study").addEventListener("click", toStart);
  byId("delete-study").addEventListener("click", () =>
    askToDelete(store.get("study").study_id, onDeleted, fail),
  );
  byId("work-cancel").addEventListener("click", cancel);
  let before = null;
  store.on(["page"], () => {
    const page = store.get("page");
    for (const id of ["start", "work", "study"]) show(byId(id), id === page);
    show(byId("new-study"), page === "study");
    show(byId("delete-study"), page === "study");
    document.body.dataset.page = page;
    if (page === "study") {
      panes.draw();
      panes.viewer.focus();
    } else if (before !== null && page === "start") byId("choose-files").focus();
    else if (page === "work") byId("work-cancel").focus();
    before = page;
  });
  // Back and forward, or another address typed over this one.
  addEventListener("popstate", () => {
    const id = visits.studyInAddress();
    if (id !== null && id !== store.get("study")?.study_id) openStudy(id);
    else if (id === null && store.get("page") !== "start") closeStudy("start");
  });
  visits.listenToLeaving();
}

async function begin() {
  setTokenAsker(askForToken);
  listenToMessages();
  listenToPages();
  listenToFiles(openFiles, fail);
  speakSlices(store);
  listenToKeys(store, panes);
  makeToolbar(store, panes);
  makeRail(store, panes);
  makeCine(store);
  makeStrip(store, panes);
  makeVerdict(store, panes);
  makeProbabilities(store);
  makeHeatControls(store);
  makeOutlineControls(store);
  makeSummary(store, panes);
  makeRejected(store);
  makePatient(store);
  makeSeriesList(store);
  makeKnownList(store, openStudy, fail);
  const onExpired = () =>
    say("The study has expired and was deleted from the server.", {
      actions: [{ name: "Open another", run: toStart }],
    });
  makeStudyCard(store, openStudy, onExpired, fail);
  makeModelCard(store);
  makeDownloads(store, fail);
  try {
    serversModel = await getModel();
    store.set({ model: serversModel, classes: serversModel.classes, service: await getService() });
    if (serversModel.mask_thresholds) {
      byId("lead").textContent =
        "Every slice with the probabilities of five kinds of bleeding, their outlines and volumes by the model, and heat maps of its attention.";
    }
    showSamples(await getSamples(), openSample);
  } catch (error) {
    store.set({ page: "start" });
    say(textOf(error), { actions: [{ name: "Try again", run: () => location.reload() }] });
    return;
  }
  const isCutOff = visits.wasCutOff();
  const id = visits.studyInAddress();
  if (id !== null) {
    await openStudy(id);
    return;
  }
  store.set({ page: "start" });
  if (isCutOff) {
    say("The page was loaded again while files were sent, which ended the upload. Choose the files once more.");
  }
}

begin();
