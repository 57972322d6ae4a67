// The studies that this tab has sent or opened, and a study's address. The key of a study is in the
// fragment of the address, which browsers send to nobody; names of files stay in this tab, and what
// is in the files stays in the memory of the page.

import { Sources } from "./sources.js";

const KEY = "ich_tf.studies";
const SENDING_KEY = "ich_tf.sending";
const MOST = 20;
const FRAGMENT = /^#study=([\w-]+)$/;

const inMemory = new Map(); // id -> Sources

// [{ids, names}], the newest upload first: the ids of its studies, and the names of its files.
export function knownUploads() {
  return JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
}

function keep(uploads) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(uploads));
  } catch {
    // Thousands of long names can exceed what a tab may store: then only the ids are kept.
    sessionStorage.setItem(KEY, JSON.stringify(uploads.map(({ ids }) => ({ ids, names: [] }))));
  }
}

// Remembers the studies of an upload, those of ids that are known already included.
export function remember(ids, sources) {
  const others = knownUploads().filter((upload) => !upload.ids.some((id) => ids.includes(id)));
  for (const id of ids) inMemory.set(id, sources);
  keep([{ ids, names: sources.names }, ...others].slice(0, MOST));
}

export function forget(id) {
  inMemory.delete(id);
  const uploads = knownUploads().map(({ ids, names }) => ({ ids: ids.filter((one) => one !== id), names }));
  keep(uploads.filter(({ ids }) => ids.length));
}

// What this page knows of the files of a study.
export function sourcesOf(id) {
  const names = knownUploads().find(({ ids }) => ids.includes(id))?.names ?? [];
  return inMemory.get(id) ?? new Sources(names);
}

// The study that the address names; null for none.
export function studyInAddress() {
  return FRAGMENT.exec(location.hash)?.[1] ?? null;
}

// Writes a study into the address, null for none: as a step to go back from, or in place of the last.
export function writeAddress(id, { replace = false } = {}) {
  if (id === studyInAddress()) return;
  const address = id === null ? location.pathname + location.search : `#study=${id}`;
  history[replace ? "replaceState" : "pushState"](null, "", address);
}

// Notes that files are being sent: a reload would lose them.
export function markSending(isSending) {
  if (isSending) sessionStorage.setItem(SENDING_KEY, "1");
  else sessionStorage.removeItem(SENDING_KEY);
}

// Whether the page was loaded again while files were sent; asked once.
export function wasCutOff() {
  const isSending = sessionStorage.getItem(SENDING_KEY) !== null;
  markSending(false);
  return isSending;
}

// Lets the browser ask before the page is left while files are sent.
export function listenToLeaving() {
  addEventListener("beforeunload", (event) => {
    if (sessionStorage.getItem(SENDING_KEY) !== null) event.preventDefault();
  });
}
