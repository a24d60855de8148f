/** The header of a safetensors file: reading and checking it, and laying one out for writing. */
import { TeError } from "@te/tensor";
import {
  bitsOf,
  type Entry,
  failFile,
  type Header,
  isStoredType,
  MAX_HEADER_BYTES,
  type StoredType,
} from "./format.js";
import { parseJson } from "./json.js";
import { nameOtherFormat } from "./other-formats.js";

/** Bytes of the number in front of the header. */
export const LENGTH_BYTES = 8;

/**
 * Reads the length of the header from the first bytes of a file, which are as many as there are up to HEAD_BYTES.
 * @param where prefix of error messages: the function and the path
 */
export function readHeaderLength(where: string, start: Uint8Array, fileBytes: number): number {
  const other = nameOtherFormat(start);
  if (other) throw new TeError("file", `${where}: the file must be a safetensors file, got ${other}`);
  if (fileBytes < LENGTH_BYTES) {
    failFile(where, `a safetensors file has at least ${LENGTH_BYTES} bytes`, fileBytes);
  }
  const length = new DataView(start.buffer, start.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    failFile(where, `the header length must be at most ${MAX_HEADER_BYTES} bytes`, String(length));
  }
  if (LENGTH_BYTES + Number(length) > fileBytes) {
    failFile(where, `the header must end within the ${fileBytes} bytes of the file`, `length ${length}`);
  }
  return Number(length);
}

/**
 * Parses and checks a header against the number of bytes that follow it: known types, shapes that fill their ranges,
 * ranges that cover those bytes without gap or overlap. Anything else is a TeError with code "file".
 */
export function parseHeader(where: string, bytes: Uint8Array, dataBytes: number): Header {
  const value = parseJson(where, "the header", decodeUtf8(where, bytes));
  if (!isRecord(value)) failFile(where, "the header must be a JSON object", value);
  const { __metadata__: metadata, ...tensors } = value;
  const entries = Object.entries(tensors).map(([name, info]) => parseEntry(where, name, info));
  checkRanges(where, entries, dataBytes);
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    entries: new Map(entries.map((entry) => [entry.name, entry])),
    metadata: parseMetadata(where, metadata ?? {}),
  };
}

function decodeUtf8(where: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    failFile(where, "the header must be valid UTF-8");
  }
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function parseMetadata(where: string, metadata: unknown): Record<string, string> {
  if (!isRecord(metadata)) failFile(where, "__metadata__ must be a JSON object", metadata);
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== "string") failFile(where, `metadata ${JSON.stringify(key)} must be a string`, value);
  }
  return metadata as Record<string, string>;
}

function parseEntry(where: string, name: string, info: unknown): Entry {
  const of = `tensor ${JSON.stringify(name)}`;
  if (!isRecord(info)) failFile(where, `${of} must be described by a JSON object`, info);
  const { dtype, shape, data_offsets: range } = info;
  if (!isStoredType(dtype)) failFile(where, `${of}: the dtype must be one of the format`, dtype ?? "none");
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    failFile(where, `${of}: the shape must be an array of non-negative integers`, shape ?? "none");
  }
  if (!Array.isArray(range) || range.length !== 2 || !range.every(isSize)) {
    failFile(where, `${of}: data_offsets must be two non-negative integers`, range ?? "none");
  }
  const [begin, end] = range as [number, number];
  if (begin > end) failFile(where, `${of}: data_offsets must not run backwards`, range);
  const bytes = bytesOfShape(where, of, dtype, shape);
  if (bytes !== end - begin) {
    failFile(where, `${of}: ${dtype} of shape [${shape}] needs a range of ${bytes} bytes`, `${end - begin} bytes`);
  }
  return { name, type: dtype, shape, begin, end };
}

function bytesOfShape(where: string, of: string, type: StoredType, shape: readonly number[]): number {
  let bits = bitsOf(type);
  for (const size of shape) {
    bits *= size;
    if (!Number.isSafeInteger(bits)) failFile(where, `${of}: the shape must describe fewer than 2^53 bits`, shape);
  }
  if (bits % 8 !== 0) failFile(where, `${of}: ${type} elements must fill whole bytes`, shape);
  return bits / 8;
}

/** The format wants every byte after the header to belong to one tensor, whatever the order of names. */
function checkRanges(where: string, entries: readonly Entry[], dataBytes: number): void {
  let next = 0;
  for (const { name, begin, end } of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== next) {
      const what = begin < next ? "overlap" : "leave a gap";
      failFile(where, `ranges must not ${what}: tensor ${JSON.stringify(name)} should begin at ${next}`, begin);
    }
    next = end;
  }
  if (next !== dataBytes) {
    failFile(where, `the tensors need ${next} bytes after the header`, `${dataBytes} bytes`);
  }
}

/** A tensor as a header describes it. */
export type Described = Pick<Entry, "name" | "type" | "shape">;

/**
 * Lays tensors out and encodes the header with its length in front, padded with spaces so that the data begin at a
 * multiple of 8. Wide types come first, then names in alphabetical order, so that every tensor is aligned.
 */
export function layOut(
  where: string,
  tensors: readonly Described[],
  metadata: Readonly<Record<string, string>>,
): { header: Uint8Array; entries: Entry[] } {
  const sorted = tensors.toSorted((a, b) => bitsOf(b.type) - bitsOf(a.type) || (a.name < b.name ? -1 : 1));
  let next = 0;
  const entries = sorted.map(({ name, type, shape }): Entry => {
    const begin = next;
    next += bytesOfShape(where, `tensor ${JSON.stringify(name)}`, type, shape);
    return { name, type, shape, begin, end: next };
  });
  const described = entries.map(({ name, type, shape, begin, end }) => {
    return [name, { dtype: type, shape, data_offsets: [begin, end] }] as const;
  });
  const sortedMetadata = Object.fromEntries(Object.entries(metadata).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  const head = Object.keys(metadata).length ? [["__metadata__", sortedMetadata] as const] : [];
  return { header: frame(where, JSON.stringify(Object.fromEntries([...head, ...described]))), entries };
}

/** length, text, padding */
function frame(where: string, json: string): Uint8Array {
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.length / 8) * 8;
  if (length > MAX_HEADER_BYTES) {
    failFile(where, `the header length must be at most ${MAX_HEADER_BYTES} bytes`, length);
  }
  const header = new Uint8Array(LENGTH_BYTES + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(text, LENGTH_BYTES);
  return header;
}
