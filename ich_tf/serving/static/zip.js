// A zip's entries, read in this browser: the server's answers hold only their indices. APPNOTE.TXT
// 4.3.7, 4.3.12 and 4.3.16: an entry's own header, the directory, the record at the archive's end.

const END_MARK = 0x06054b50;
const ENTRY_MARK = 0x02014b50;
const LOCAL_MARK = 0x04034b50;
const END_BYTES = 22;
const ENTRY_BYTES = 46;
const LOCAL_BYTES = 30;
const MOST_DIRECTORY_BYTES = 16e6;
const [STORED, DEFLATED] = [0, 8];

// The entries by index, {name, method, start, size}; empty for a file that is no zip, or too large
// for this simple reader. start: place of the entry's own header; size: bytes as they are packed.
export async function zipEntries(file) {
  const tail = await bytesOf(file, Math.max(0, file.size - END_BYTES - 0xffff), file.size);
  for (let at = tail.byteLength - END_BYTES; at >= 0; at--) {
    if (tail.getUint32(at, true) !== END_MARK) continue;
    const size = tail.getUint32(at + 12, true);
    const start = tail.getUint32(at + 16, true);
    if (size > MOST_DIRECTORY_BYTES || start + size > file.size) return [];
    return entriesOf(await bytesOf(file, start, start + size));
  }
  return [];
}

// At most the first `most` bytes of an entry, unpacked; null if it is packed in another way.
export async function headOfEntry(file, { method, start, size }, most) {
  const header = await bytesOf(file, start, start + LOCAL_BYTES);
  if (header.byteLength < LOCAL_BYTES || header.getUint32(0, true) !== LOCAL_MARK) return null;
  const from = start + LOCAL_BYTES + header.getUint16(26, true) + header.getUint16(28, true);
  const packed = file.slice(from, from + size);
  if (method === STORED) return (await bytesOf(packed, 0, most)).buffer;
  return method === DEFLATED ? inflatedHead(packed, most) : null;
}

// At most the first `most` bytes of a deflated Blob; what came before a fault in it.
export async function inflatedHead(packed, most) {
  const reader = packed.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const pieces = [];
  let size = 0;
  try {
    while (size < most) {
      const { value, done } = await reader.read();
      if (done) break;
      pieces.push(value);
      size += value.byteLength;
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // of a stream that is damaged or cut
  }
  reader.cancel().catch(() => {}); // a damaged stream is closed already
  return new Blob(pieces).slice(0, most).arrayBuffer();
}

async function bytesOf(file, start, end) {
  return new DataView(await file.slice(start, end).arrayBuffer());
}

function entriesOf(directory) {
  const entries = [];
  const decoder = new TextDecoder();
  let at = 0;
  while (at + ENTRY_BYTES <= directory.byteLength) {
    if (directory.getUint32(at, true) !== ENTRY_MARK) break;
    const [name, extra, comment] = [28, 30, 32].map((place) => directory.getUint16(at + place, true));
    const end = at + ENTRY_BYTES + name;
    if (end > directory.byteLength) break;
    const bytes = new Uint8Array(directory.buffer, directory.byteOffset + at + ENTRY_BYTES, name);
    entries.push({
      name: decoder.decode(bytes),
      method: directory.getUint16(at + 10, true),
      size: directory.getUint32(at + 20, true),
      start: directory.getUint32(at + 42, true),
    });
    at = end + extra + comment;
  }
  return entries;
}
