// The files that were sent, as this browser knows them: their names, and the identity in their headers.
// A reload forgets the files, and with them the identity; names of files stay in the tab.

import { HEAD_BYTES, readHeader } from "./dicom_header.js";
import { isZip } from "./files.js";
import { headOfEntry, zipEntries } from "./zip.js";

export class Sources {
  #files; // File by index; empty after a reload
  #entries; // entries of a zip by the index of its file
  #headers = new Map(); // "file/entry" -> promise of a header or null

  // names: [{name, entries}] by index, entries the names within a zip; files, entries: as they are, or
  // empty where only the names are known.
  constructor(names, files = [], entries = []) {
    this.names = names;
    this.#files = files;
    this.#entries = entries;
  }

  // Of files that were dropped or chosen, [{file, name}].
  static async of(named) {
    const entries = await Promise.all(named.map(({ file }) => (isZip(file) ? zipEntries(file) : [])));
    const names = named.map(({ name }, i) => ({ name, entries: entries[i].map((entry) => entry.name) }));
    return new Sources(names, named.map(({ file }) => file), entries);
  }

  // A promise of the identity in the file of a slice, {file, entry} as the server counts them; null
  // where it is not known.
  header({ file, entry }) {
    const key = `${file}/${entry ?? ""}`;
    if (!this.#headers.has(key)) this.#headers.set(key, this.#read(file, entry ?? null));
    return this.#headers.get(key);
  }

  async #read(index, entry) {
    const file = this.#files[index];
    if (!file) return null;
    try {
      if (entry === null) return await readHeader(await file.slice(0, HEAD_BYTES).arrayBuffer());
      const place = this.#entries[index][entry];
      const head = place ? await headOfEntry(file, place, HEAD_BYTES) : null;
      return head && (await readHeader(head));
    } catch (error) {
      // The file was changed or removed since it was chosen.
      if (error instanceof DOMException) return null;
      throw error;
    }
  }
}
