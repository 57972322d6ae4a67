// What was dropped or chosen -> files, each with the name that the person knows it by.

// Beyond this a folder is surely not a study; the server's own limit is lower.
const MOST = 20000;
const CLUTTER = /^(\..*|thumbs\.db|desktop\.ini|__macosx)$/i;

// A list of {file, name}, from an <input type=file>.
export function fromInput(input) {
  const found = [...input.files].map((file) => ({
    file,
    name: file.webkitRelativePath || file.name,
  }));
  return tidy(found);
}

// The same from a drop, folders walked.
export async function fromDrop(transfer) {
  // Entries have to be taken before the first await: afterwards the transfer is empty.
  const entries = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile())
    .filter(Boolean);
  const found = [];
  for (const entry of entries) {
    if (entry instanceof File) found.push({ file: entry, name: entry.name });
    else await walk(entry, entry.name, found);
  }
  return tidy(found);
}

async function walk(entry, name, found) {
  if (found.length > MOST) return;
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ file, name });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // Chromium hands out a hundred at a time.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const one of some) await walk(one, `${name}/${one.name}`, found);
  }
}

// Files in the order of their names; what systems leave in folders stays behind, and is counted.
function tidy(found) {
  const kept = found.filter(({ name }) => !name.split("/").some((part) => CLUTTER.test(part)));
  kept.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  return { files: kept, leftOut: found.length - kept.length };
}

export function isZip(file) {
  return /\.zip$/i.test(file.name);
}

export function sizeText(bytes) {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
