// Names of a zip's entries, read in this browser: the server's answers hold only their indices.
// APPNOTE.TXT 4.3.12 and 4.3.16: the directory, and the record at the archive's end.

const END_MARK = 0x06054b50;
const ENTRY_MARK = 0x02014b50;
const END_BYTES = 22;
const ENTRY_BYTES = 46;
const MOST_DIRECTORY_BYTES = 16e6;

// The names by index; empty for a file that is no zip, or too large for this simple reader.
export async function zipNames(file) {
  const tail = await bytesOf(file, Math.max(0, file.size - END_BYTES - 0xffff), file.size);
  for (let at = tail.byteLength - END_BYTES; at >= 0; at--) {
    if (tail.getUint32(at, true) !== END_MARK) continue;
    const size = tail.getUint32(at + 12, true);
    const start = tail.getUint32(at + 16, true);
    if (size > MOST_DIRECTORY_BYTES || start + size > file.size) return [];
    return entryNames(await bytesOf(file, start, start + size));
  }
  return [];
}

async function bytesOf(file, start, end) {
  return new DataView(await file.slice(start, end).arrayBuffer());
}

function entryNames(directory) {
  const names = [];
  const decoder = new TextDecoder();
  let at = 0;
  while (at + ENTRY_BYTES <= directory.byteLength) {
    if (directory.getUint32(at, true) !== ENTRY_MARK) break;
    const [name, extra, comment] = [28, 30, 32].map((place) => directory.getUint16(at + place, true));
    const end = at + ENTRY_BYTES + name;
    if (end > directory.byteLength) break;
    const bytes = new Uint8Array(directory.buffer, directory.byteOffset + at + ENTRY_BYTES, name);
    names.push(decoder.decode(bytes));
    at = end + extra + comment;
  }
  return names;
}
