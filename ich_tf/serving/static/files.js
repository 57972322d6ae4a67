// Dropped or chosen files, each with the name that the person knows it by.

// Maximum number of files that are looked at: a larger folder is not a study. The server's limit is
// lower.
const MOST = 20000;
const CLUTTER = /^(\..*|thumbs\.db|desktop\.ini|__macosx)$/i;

// A list of {file, name}, from an <input type=file>.
export function fromInput(input) {
  const named = [...input.files].map((file) => ({
    file,
    name: file.webkitRelativePath || file.name,
  }));
  return tidy(named);
}

// The same for a drop, with all files of its folders.
export async function fromDrop(transfer) {
  // Entries have to be taken before the first await: afterwards the transfer is empty.
  const entries = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile())
    .filter(Boolean);
  const named = [];
  for (const entry of entries) {
    if (entry instanceof File) named.push({ file: entry, name: entry.name });
    else await walk(entry, entry.name, named);
  }
  return tidy(named);
}

async function walk(entry, name, named) {
  if (named.length > MOST) return;
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    named.push({ file, name });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // Chromium returns at most a hundred at a time.
    const children = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!children.length) return;
    for (const child of children) await walk(child, `${name}/${child.name}`, named);
  }
}

// Files in the order of their names; clutter of operating systems is left out, and counted.
function tidy(named) {
  const kept = named.filter(({ name }) => !name.split("/").some((part) => CLUTTER.test(part)));
  kept.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  return { files: kept, leftOut: named.length - kept.length };
}

export function isZip(file) {
  return /\.zip$/i.test(file.name);
}

export function sizeText(bytes) {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
