// Requests to the server. Errors are an ApiError (the server answered) or ConnectionLost (it did
// not).

import { isZip } from "./files.js";

const TOKEN_KEY = "ich_tf.token";

export class ApiError extends Error {
  constructor(status, code, message, retryAfter = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }

  get isGone() {
    return this.code === "NO_STUDY";
  }

  get isBusy() {
    return this.status === 503 || this.status === 429;
  }
}

export class ConnectionLost extends Error {}

let askForToken = null;
let asking = null;

// ask(refused) returns a promise of a token. It is called once, however many requests wait for it.
export function setTokenAsker(ask) {
  askForToken = ask;
}

function token() {
  return sessionStorage.getItem(TOKEN_KEY);
}

async function renewToken(used) {
  if (token() !== used) return; // another request has renewed it meanwhile
  asking ??= askForToken(used !== null).finally(() => {
    asking = null;
  });
  sessionStorage.setItem(TOKEN_KEY, await asking);
}

function headers(used) {
  return used === null ? {} : { Authorization: `Bearer ${used}` };
}

function retrySeconds(value) {
  const seconds = Number.parseInt(value ?? "", 10);
  return Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds, 300) : null;
}

function errorOf(status, text, retryAfter) {
  let code = `HTTP_${status}`;
  let message = `The server answered with status ${status}.`;
  try {
    const { error } = JSON.parse(text);
    if (typeof error?.code === "string") code = error.code;
    if (typeof error?.message === "string") message = error.message;
  } catch {
    // No answer of our routes: the status is all there is to report.
  }
  return new ApiError(status, code, message, retrySeconds(retryAfter));
}

export async function request(path, { method = "GET", signal } = {}) {
  for (;;) {
    const used = token();
    let response;
    try {
      response = await fetch(path, { method, signal, headers: headers(used), cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ConnectionLost("The server cannot be reached.");
    }
    if (response.status === 401) {
      await renewToken(used);
      continue;
    }
    if (!response.ok) {
      throw errorOf(response.status, await response.text(), response.headers.get("Retry-After"));
    }
    return response;
  }
}

async function body(response, kind) {
  try {
    return await response[kind]();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ConnectionLost("The connection was cut in the middle of an answer.");
  }
}

async function json(path, options) {
  return body(await request(path, options), "json");
}

export const getModel = () => json("api/model");
export const getService = () => json("api/service");
export const getStudies = () => json("api/studies");
export const getSamples = () => json("api/samples");
export const postSample = (name, signal) =>
  json(`api/samples/${encodeURIComponent(name)}`, { method: "POST", signal });
export const getStudy = (id, signal) => json(`api/studies/${encodeURIComponent(id)}`, { signal });
export const deleteStudy = (id) =>
  request(`api/studies/${encodeURIComponent(id)}`, { method: "DELETE" });

export function slicePath(id, series, slice) {
  return `api/studies/${encodeURIComponent(id)}/series/${series}/slices/${slice}`;
}

// The bytes of a response's body, and its headers.
export async function getBytes(path, signal) {
  const response = await request(path, { signal });
  return { bytes: await body(response, "arrayBuffer"), headers: response.headers };
}

export async function getBlob(path) {
  return body(await request(path), "blob");
}

// Posts files as a new study, or as a further part of the study `id`; hasMore: whether other parts
// follow. onProgress(sent) in bytes. Files are named by their index and by whether they are a zip:
// their own names may hold names of patients, and stay in this browser.
export async function postFiles(files, { id = null, hasMore = false, onProgress, signal }) {
  const path = id === null ? "api/studies" : `api/studies/${encodeURIComponent(id)}/files`;
  for (;;) {
    const used = token();
    const form = new FormData();
    files.forEach((file, index) => {
      form.append("files", file, isZip(file) ? `${index}.zip` : `${index}.dcm`);
    });
    const address = hasMore ? `${path}?more=true` : path;
    const answer = await send(address, form, headers(used), onProgress, signal);
    if (answer.status === 401) {
      await renewToken(used);
      continue;
    }
    if (answer.status < 200 || answer.status > 299) {
      throw errorOf(answer.status, answer.text, answer.retryAfter);
    }
    return JSON.parse(answer.text);
  }
}

// XMLHttpRequest, because fetch does not report how much has been sent.
function send(path, form, extra, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open("POST", path);
    for (const [name, value] of Object.entries(extra)) xhr.setRequestHeader(name, value);
    xhr.upload.onprogress = (event) => onProgress(event.loaded);
    xhr.onload = () =>
      resolve({
        status: xhr.status,
        text: xhr.responseText,
        retryAfter: xhr.getResponseHeader("Retry-After"),
      });
    xhr.onerror = () => reject(new ConnectionLost("The connection was cut while files were sent."));
    xhr.onabort = () => reject(new DOMException("Cancelled", "AbortError"));
    signal?.addEventListener("abort", () => xhr.abort());
    xhr.send(form);
  });
}
