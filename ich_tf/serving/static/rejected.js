// Files that could not be used, with the names that the person knows them by.

import { byId, make, show } from "./dom.js";

// names: [{name, entries}] of the files that were sent, with the names of a zip's entries. Only this
// browser knows them: the server's answers hold indices.
export function nameOf({ file, entry }, names) {
  const { name, entries } = names[file] ?? { name: `File ${file + 1}`, entries: [] };
  if (entry === null || entry === undefined) return name;
  return entries[entry] ? `${name}: ${entries[entry]}` : `${name}, entry ${entry + 1}`;
}

export function fillRejected(card, rejected, names, total) {
  show(card, rejected.length > 0);
  if (!rejected.length) {
    card.replaceChildren();
    return;
  }
  const title = make("h2", {}, `Not used: ${rejected.length} of ${Math.max(total, rejected.length)}`);
  if (card.getAttribute("aria-labelledby")) title.id = card.getAttribute("aria-labelledby");
  card.replaceChildren(
    title,
    make(
      "ul",
      { class: "rejected", tabindex: "0", "aria-label": "Files that were not used" },
      ...rejected.map((file) =>
        make(
          "li",
          {},
          make("span", { class: "file" }, nameOf(file, names)),
          make("span", { class: "reason" }, file.reason),
          make("span", { class: "why" }, file.message),
        ),
      ),
    ),
  );
}

export function makeRejected(store) {
  store.on(["study", "sources"], () => {
    const study = store.get("study");
    if (study) fillRejected(byId("rejected"), study.rejected, store.get("sources").names, study.num_files);
  });
}
