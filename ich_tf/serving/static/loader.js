// Arrays of slices from the server: a cache of limited size, few requests at a time, the nearest
// slice first.

import { getBytes } from "./api.js";
import { decodeGreyPng } from "./png.js";

export class Loader {
  #cache = new Map(); // key -> {value, bytes}, the least recently used first
  #bytes = 0;
  #waiting = new Map(); // key -> job that has not started
  #running = new Map();
  #mostBytes;
  #atOnce;
  #decode;

  // decode(ArrayBuffer, Headers) -> {value, bytes}, or a promise of it.
  constructor({ mostBytes, atOnce, decode }) {
    this.#mostBytes = mostBytes;
    this.#atOnce = atOnce;
    this.#decode = decode;
  }

  // The value if it is in the cache, else undefined.
  peek(key) {
    const cached = this.#cache.get(key);
    if (!cached) return undefined;
    this.#cache.delete(key);
    this.#cache.set(key, cached);
    return cached.value;
  }

  // A promise of the value at a path, which is its key. Lower priorities are fetched first.
  get(key, priority = 0) {
    const here = this.peek(key);
    if (here !== undefined) return Promise.resolve(here);
    const known = this.#running.get(key) ?? this.#waiting.get(key);
    if (known) {
      known.priority = Math.min(known.priority, priority);
      return known.promise;
    }
    const job = { key, priority, abort: new AbortController() };
    job.promise = new Promise((resolve, reject) => Object.assign(job, { resolve, reject }));
    job.promise.catch(() => {}); // nobody waits for a prefetched slice
    this.#waiting.set(key, job);
    this.#next();
    return job.promise;
  }

  // Cancels waiting requests except those for these keys: the person has scrolled on.
  keepOnly(keys) {
    for (const [key, job] of this.#waiting) {
      if (keys.has(key)) continue;
      this.#waiting.delete(key);
      job.reject(new DOMException("Scrolled on", "AbortError"));
    }
  }

  // Empties the cache, and cancels all requests.
  clear() {
    this.keepOnly(new Set());
    for (const job of this.#running.values()) job.abort.abort();
    this.#cache.clear();
    this.#bytes = 0;
  }

  #next() {
    while (this.#running.size < this.#atOnce && this.#waiting.size) {
      let first = null;
      for (const job of this.#waiting.values()) {
        if (!first || job.priority < first.priority) first = job;
      }
      this.#waiting.delete(first.key);
      this.#running.set(first.key, first);
      this.#run(first);
    }
  }

  async #run(job) {
    try {
      const { bytes, headers } = await getBytes(job.key, job.abort.signal);
      const decoded = await this.#decode(bytes, headers);
      if (!job.abort.signal.aborted) this.#keep(job.key, decoded);
      job.resolve(decoded.value);
    } catch (error) {
      job.reject(error);
    } finally {
      if (this.#running.get(job.key) === job) this.#running.delete(job.key);
      this.#next();
    }
  }

  #keep(key, { value, bytes }) {
    this.#cache.set(key, { value, bytes });
    this.#bytes += bytes;
    for (const [oldest, { bytes: freed }] of this.#cache) {
      if (this.#bytes <= this.#mostBytes || oldest === key) break;
      this.#cache.delete(oldest);
      this.#bytes -= freed;
    }
  }
}

function sizeOf(headers, length) {
  const rows = Number(headers.get("X-Rows"));
  const columns = Number(headers.get("X-Columns"));
  if (rows * columns !== length) {
    throw new Error(`A slice of ${rows} x ${columns} came with ${length} pixels.`);
  }
  return { rows, columns };
}

// Loads {hu: int16 [rows * columns], rows, columns}; the bytes are little endian, like the arrays
// of all browsers.
export function pixelLoader() {
  return new Loader({
    mostBytes: 256e6,
    atOnce: 4,
    decode(buffer, headers) {
      const hu = new Int16Array(buffer);
      return { value: { hu, ...sizeOf(headers, hu.length) }, bytes: buffer.byteLength };
    },
  });
}

// Loads masks: {pixels: uint8 [rows * columns], a bit a class, rows, columns}.
export function maskLoader() {
  return new Loader({
    mostBytes: 64e6,
    atOnce: 2,
    async decode(buffer) {
      const value = await decodeGreyPng(buffer);
      return { value, bytes: value.pixels.byteLength };
    },
  });
}

// Loads {heat: uint8 [rows * columns], rows, columns, peak: the logit that 255 stands for, greatest: the
// slice's greatest logit, explains: which probability it explains}.
export function heatLoader() {
  return new Loader({
    mostBytes: 64e6,
    atOnce: 1,
    decode(buffer, headers) {
      const heat = new Uint8Array(buffer);
      const size = sizeOf(headers, heat.length);
      const peak = Number(headers.get("X-Peak"));
      const greatest = Number(headers.get("X-Greatest"));
      const explains = headers.get("X-Explains");
      return { value: { heat, peak, greatest, explains, ...size }, bytes: buffer.byteLength };
    },
  });
}
