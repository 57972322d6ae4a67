// Grey PNGs of 8 bits -> their exact bytes. A canvas would not do: browsers that protect from
// fingerprinting change what is read from one.

const SIGNATURE = 0x89504e47;
const chunk = (name) => [...name].reduce((code, letter) => code * 256 + letter.charCodeAt(0), 0);
const [IHDR, IDAT, IEND] = ["IHDR", "IDAT", "IEND"].map(chunk);

// {pixels: Uint8Array [rows * columns], rows, columns} of an ArrayBuffer (PNG, 2nd edition, 5 to 9).
export async function decodeGreyPng(buffer) {
  const view = new DataView(buffer);
  const packed = [];
  let rows = 0;
  let columns = 0;
  if (buffer.byteLength < 8 || view.getUint32(0) !== SIGNATURE) throw new Error("This is no PNG.");
  for (let at = 8; at + 12 <= buffer.byteLength; at += 12 + view.getUint32(at)) {
    const kind = view.getUint32(at + 4);
    if (kind === IEND) break;
    if (kind === IDAT) packed.push(new Uint8Array(buffer, at + 8, view.getUint32(at)));
    if (kind !== IHDR) continue;
    [columns, rows] = [view.getUint32(at + 8), view.getUint32(at + 12)];
    const [depth, colour, interlace] = [16, 17, 20].map((place) => view.getUint8(at + place));
    if (depth !== 8 || colour !== 0 || interlace !== 0) {
      throw new Error("A mask came as another PNG than a grey one of 8 bits.");
    }
  }
  const stream = new Blob(packed).stream().pipeThrough(new DecompressionStream("deflate"));
  const lines = new Uint8Array(await new Response(stream).arrayBuffer());
  if (lines.length !== rows * (columns + 1)) throw new Error("A mask came with other pixels.");
  return { pixels: unfiltered(lines, rows, columns), rows, columns };
}

// Each line begins with the number of its filter, by which its bytes are differences (section 9.2).
function unfiltered(lines, rows, columns) {
  const pixels = new Uint8Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const from = row * (columns + 1);
    const filter = lines[from];
    for (let column = 0, at = row * columns; column < columns; column++, at++) {
      const left = column ? pixels[at - 1] : 0;
      const above = row ? pixels[at - columns] : 0;
      const corner = row && column ? pixels[at - columns - 1] : 0;
      let expected = 0;
      if (filter === 1) expected = left;
      else if (filter === 2) expected = above;
      else if (filter === 3) expected = (left + above) >> 1;
      else if (filter === 4) expected = nearest(left, above, corner);
      pixels[at] = lines[from + 1 + column] + expected;
    }
  }
  return pixels;
}

// Paeth's predictor.
function nearest(left, above, corner) {
  const [a, b, c] = [left, above, corner].map((value) => Math.abs(left + above - corner - value));
  if (a <= b && a <= c) return left;
  return b <= c ? above : corner;
}
