// The identity in a DICOM file's header, read in this browser for the person at it: it is shown and
// never sent. PS3.5, 7 (data elements, lengths), A.5 (deflated), 6.1.2 (character sets).

import { inflatedHead } from "./zip.js";

const NAMES = {
  0x00080005: "characterSet",
  0x00080020: "studyDate",
  0x00081030: "studyDescription",
  0x0008103e: "seriesDescription",
  0x00100010: "patientName",
  0x00100020: "patientId",
  0x00100030: "birthDate",
  0x00100040: "sex",
};
const TRANSFER_SYNTAX = 0x00020010;
const LAST_TAG = 0x00100040;
const [BIG_ENDIAN, DEFLATED, IMPLICIT] = ["1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2"];
// Value representations whose length takes four bytes (PS3.5 7.1.2).
const LONG = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]);
const UNDEFINED_LENGTH = 0xffffffff;
const [ITEM, ITEM_END, SEQUENCE_END] = [0xfffee000, 0xfffee00d, 0xfffee0dd];
const MOST_DEPTH = 32;

// Labels of TextDecoder by the defined terms of PS3.3 C.12.1.1.2, with or without code extensions.
const DECODERS = {
  "ISO_IR 100": "iso-8859-1", "ISO 2022 IR 100": "iso-8859-1", "ISO_IR 101": "iso-8859-2",
  "ISO 2022 IR 101": "iso-8859-2", "ISO_IR 109": "iso-8859-3", "ISO 2022 IR 109": "iso-8859-3",
  "ISO_IR 110": "iso-8859-4", "ISO 2022 IR 110": "iso-8859-4", "ISO_IR 144": "iso-8859-5",
  "ISO 2022 IR 144": "iso-8859-5", "ISO_IR 127": "iso-8859-6", "ISO 2022 IR 127": "iso-8859-6",
  "ISO_IR 126": "iso-8859-7", "ISO 2022 IR 126": "iso-8859-7", "ISO_IR 138": "iso-8859-8",
  "ISO 2022 IR 138": "iso-8859-8", "ISO_IR 148": "windows-1254", "ISO 2022 IR 148": "windows-1254",
  "ISO_IR 203": "iso-8859-15", "ISO 2022 IR 203": "iso-8859-15", "ISO_IR 166": "windows-874",
  "ISO 2022 IR 166": "windows-874", "ISO_IR 13": "shift_jis", "ISO 2022 IR 13": "shift_jis",
  "ISO 2022 IR 87": "iso-2022-jp", "ISO 2022 IR 159": "iso-2022-jp", "ISO 2022 IR 149": "euc-kr",
  "ISO 2022 IR 58": "gb2312", "ISO_IR 192": "utf-8", GB18030: "gb18030", GBK: "gbk",
};

// Bytes of a file's beginning that hold the identity: it lies before all images.
export const HEAD_BYTES = 1 << 18;

// {patientName, patientId, birthDate, sex, studyDate, studyDescription, seriesDescription}, texts that
// are empty where the file has none; null for bytes that are not DICOM.
export async function readHeader(buffer) {
  const view = new DataView(buffer);
  let at = 0;
  let [isExplicit, isLittle] = [true, true];
  let syntax = "";
  if (buffer.byteLength > 132 && view.getUint32(128) === 0x4449434d) {
    const meta = new Map();
    at = elements(view, 132, true, true, meta, (tag) => tag >>> 16 === 2);
    syntax = latin(meta.get(TRANSFER_SYNTAX));
    isExplicit = syntax !== IMPLICIT;
    isLittle = syntax !== BIG_ENDIAN;
  } else {
    // Without a preamble: the second letters of a value representation tell explicit from implicit.
    if (buffer.byteLength < 8 || view.getUint16(0, true) !== 8) return null;
    isExplicit = /^[A-Z]{2}$/.test(String.fromCharCode(view.getUint8(4), view.getUint8(5)));
  }
  let data = view;
  if (syntax === DEFLATED) {
    data = new DataView(await inflatedHead(new Blob([buffer.slice(at)]), HEAD_BYTES));
    at = 0;
  }
  const found = new Map();
  elements(data, at, isExplicit, isLittle, found, (tag) => tag <= LAST_TAG);
  const sets = latin(found.get(0x00080005)).split("\\");
  const header = {};
  for (const [tag, name] of Object.entries(NAMES)) header[name] = textOf(found.get(Number(tag)), sets);
  delete header.characterSet;
  return header;
}

// Collects values of `NAMES` and of the transfer syntax while goOn(tag); returns where it stopped.
function elements(view, from, isExplicit, isLittle, found, goOn) {
  let at = from;
  while (at + 8 <= view.byteLength) {
    const element = elementAt(view, at, isExplicit, isLittle);
    if (!element || !goOn(element.tag)) return at;
    const { tag, start, length } = element;
    if (length === UNDEFINED_LENGTH) {
      at = sequenceEnd(view, start, isExplicit, isLittle, 0);
      continue;
    }
    const end = start + length;
    if (end > view.byteLength) return at;
    if (tag in NAMES || tag === TRANSFER_SYNTAX) {
      found.set(tag, new Uint8Array(view.buffer, view.byteOffset + start, length));
    }
    at = end;
  }
  return at;
}

// {tag, start of the value, length}; null where the bytes end.
function elementAt(view, at, isExplicit, isLittle) {
  if (at + 8 > view.byteLength) return null;
  const tag = view.getUint16(at, isLittle) * 0x10000 + view.getUint16(at + 2, isLittle);
  if (!isExplicit || tag >= ITEM) return { tag, start: at + 8, length: view.getUint32(at + 4, isLittle) };
  const kind = String.fromCharCode(view.getUint8(at + 4), view.getUint8(at + 5));
  if (!LONG.has(kind)) return { tag, start: at + 8, length: view.getUint16(at + 6, isLittle) };
  if (at + 12 > view.byteLength) return null;
  return { tag, start: at + 12, length: view.getUint32(at + 8, isLittle) };
}

// The end of a sequence of undefined length: of its items, which may hold others.
function sequenceEnd(view, from, isExplicit, isLittle, depth) {
  let at = from;
  for (;;) {
    const element = depth < MOST_DEPTH ? elementAt(view, at, isExplicit, isLittle) : null;
    if (!element) return view.byteLength;
    at = element.start;
    if (element.tag === SEQUENCE_END || element.tag === ITEM_END) return at;
    if (element.length === UNDEFINED_LENGTH) at = sequenceEnd(view, at, isExplicit, isLittle, depth + 1);
    else at += element.length;
  }
}

function latin(bytes) {
  return bytes ? new TextDecoder("latin1").decode(bytes).replace(/[\0 ]+$/, "") : "";
}

// Text by the character sets of its file, of which later ones are reached by escapes (PS3.5 6.1.2.5).
function textOf(bytes, sets) {
  if (!bytes) return "";
  const known = sets.map((set) => DECODERS[set.trim()]).filter(Boolean);
  const multibyte = known.find((label) => ["iso-2022-jp", "euc-kr", "gb2312"].includes(label));
  const label = (bytes.includes(0x1b) && multibyte) || known[0] || "iso-8859-1";
  // Escapes to Korean and Chinese are no part of what these decoders read: their bytes are.
  const isEscape = (i) => label !== "iso-2022-jp" && bytes[i] === 0x1b;
  const kept = [];
  for (let i = 0; i < bytes.length; i++) {
    if (isEscape(i)) i += bytes[i + 1] === 0x24 ? 3 : 2;
    else kept.push(bytes[i]);
  }
  return new TextDecoder(label).decode(new Uint8Array(kept)).replace(/[\0 ]+$/, "").trim();
}

// "Olsen^Kari^^Dr" -> "Olsen, Kari"; of the groups of PS3.5 6.2.1.1 the first that is written.
export function nameText(name) {
  const group = name.split("=").find((text) => text.replaceAll("^", "").trim()) ?? "";
  const [family = "", given = "", middle = ""] = group.split("^").map((part) => part.trim());
  return [family, [given, middle].filter(Boolean).join(" ")].filter(Boolean).join(", ");
}

// "20261126" -> "2026-11-26"; other texts as they are.
export function dateText(date) {
  return /^\d{8}$/.test(date) ? `${date.slice(0, 4)}-${date.slice(4, 6)}-${date.slice(6)}` : date;
}
