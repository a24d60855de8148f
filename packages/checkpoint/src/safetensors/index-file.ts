/**
 * The index of tensors in several files, as JSON. Which file has a tensor is said as in indices of models by Hugging Face;
 * where files have blocks of one, `split_map` says of what whole, and where each block begins in it:
 *
 *     { "metadata": { "total_size": 40 },
 *       "weight_map": { "bias": "m-00001-of-00002.safetensors" },
 *       "split_map": { "kernel": { "shape": [4, 2], "parts": [
 *         { "file": "m-00001-of-00002.safetensors", "start": [0, 0] },
 *         { "file": "m-00002-of-00002.safetensors", "start": [2, 0] }] } } }
 */
import { basename } from "node:path";
import { TeError } from "@te/tensor";
import { type Block, wholeOf } from "./blocks.js";
import type { Metadata } from "./codec.js";
import { failFile, type StoredType } from "./format.js";
import { isRecord, isSize } from "./header.js";
import { parseJson } from "./json.js";
import { CONVERT } from "./other-formats.js";
import type { Source } from "./source.js";
import type { Piece, StoredTensor } from "./stored.js";

/** Where one block of a tensor is. */
export interface Part {
  readonly file: string;
  readonly start: readonly number[];
}

/** A tensor of an index: blocks and the shape of the whole, or the one file that has all of it. */
export type Indexed =
  | { readonly file: string }
  | { readonly shape: readonly number[]; readonly parts: readonly Part[] };

export interface Index {
  readonly metadata: Metadata;
  readonly tensors: ReadonlyMap<string, Indexed>;
  /** Every file once. */
  readonly files: readonly string[];
}

export const isIndexPath = (path: string): boolean => path.endsWith(".index.json");

/** The text of an index. `bytes` is the size of all tensors together. */
export function formatIndex({ metadata, tensors }: Omit<Index, "files">, bytes: number): string {
  const sorted = [...tensors].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const whole = sorted.flatMap(([name, of]) => ("file" in of ? [[name, of.file] as const] : []));
  const split = sorted.filter(([, of]) => !("file" in of));
  const content = {
    metadata: { total_size: bytes, ...metadata },
    weight_map: Object.fromEntries(whole),
    ...(split.length > 0 ? { split_map: Object.fromEntries(split) } : {}),
  };
  return `${JSON.stringify(content, null, 2)}\n`;
}

/** Checks the text of an index. Throws TeError with code "file". */
export function parseIndex(where: string, text: string): Index {
  const value = parseJson(where, "the index", text);
  if (!isRecord(value) || !isRecord(value.weight_map))
    return failFile(where, "an index must be a JSON object with a weight_map");
  const { metadata = {}, weight_map: whole, split_map: split = {} } = value;
  if (!isRecord(metadata) || !isRecord(split))
    failFile(where, "metadata and split_map of an index must be JSON objects");
  const tensors = new Map<string, Indexed>();
  for (const [name, file] of Object.entries(whole)) tensors.set(name, { file: checkFileName(where, file) });
  for (const [name, of] of Object.entries(split)) {
    if (tensors.has(name)) failFile(where, "a tensor is either whole or in parts, not both", name);
    tensors.set(name, parseSplit(where, name, of));
  }
  const files = [...tensors.values()].flatMap((of) => ("file" in of ? [of.file] : of.parts.map(({ file }) => file)));
  const texts = Object.entries(metadata).filter((pair): pair is [string, string] => typeof pair[1] === "string");
  return { metadata: Object.fromEntries(texts), tensors, files: [...new Set(files)] };
}

function checkFileName(where: string, file: unknown): string {
  if (typeof file !== "string" || basename(file) !== file || /[\\\0]/.test(file))
    failFile(where, "an index must name files beside it", file ?? String(file));
  if (!file.endsWith(".safetensors"))
    throw new TeError("file", `${where}: the files of an index must be safetensors files, got ${file}. ${CONVERT}`);
  return file;
}

function parseSplit(where: string, name: string, of: unknown): Indexed {
  const isSizes = (value: unknown, rank: number): value is number[] =>
    Array.isArray(value) && value.length === rank && value.every(isSize);
  if (isRecord(of)) {
    const { shape, parts } = of;
    if (Array.isArray(shape) && shape.every(isSize) && Array.isArray(parts) && parts.length > 0) {
      const checked = parts.map((part: unknown): Part => {
        if (!isRecord(part) || !isSizes(part.start, shape.length))
          failFile(
            where,
            `a part of ${JSON.stringify(name)} must have a file and a start of ${shape.length} sizes`,
            part,
          );
        return { file: checkFileName(where, part.file), start: part.start };
      });
      return { shape, parts: checked };
    }
  }
  return failFile(where, `the index must give ${JSON.stringify(name)} a shape and parts`, of);
}

/** The tensors of an index in alphabetical order, with what the headers of its files say of them. */
export function tensorsOfIndex(
  where: string,
  { tensors }: Index,
  sources: ReadonlyMap<string, Source>,
): StoredTensor[] {
  const sorted = [...tensors].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return sorted.map(([name, of]): StoredTensor => {
    const find = (file: string) => {
      const source = sources.get(file)!;
      const rule = `the index says that ${file} has tensor ${JSON.stringify(name)}, which is not in it`;
      return { source, entry: source.header.entries.get(name) ?? failFile(where, rule) };
    };
    if ("file" in of) {
      const { source, entry } = find(of.file);
      return { ...entry, pieces: [{ source, begin: entry.begin, block: wholeOf(entry.shape) }] };
    }
    const found = of.parts.map(({ file, start }) => ({ ...find(file), start }));
    const { type } = found[0]!.entry;
    const pieces = found.map(({ source, entry, start }): Piece & { type: StoredType } => {
      return { source, begin: entry.begin, block: { start, shape: entry.shape }, type: entry.type };
    });
    if (pieces.some((piece) => piece.type !== type))
      failFile(where, `all parts of ${JSON.stringify(name)} must be ${type}`);
    checkTiles(where, name, of.shape, pieces);
    return { name, type, shape: of.shape, pieces };
  });
}

/** Blocks of one shape, each at another place of the grid that they make, and as many as fill it. */
function checkTiles(where: string, name: string, whole: readonly number[], pieces: readonly { block: Block }[]): void {
  const { shape } = pieces[0]!.block;
  const places = new Set(pieces.map(({ block }) => block.start.join()));
  const count = whole.reduce((n, length, i) => (length === 0 ? n : (n * length) / shape[i]!), 1);
  const fits = ({ block }: { block: Block }): boolean =>
    block.shape.join() === shape.join() &&
    block.start.every((at, i) => at + shape[i]! <= whole[i]! && (shape[i] === 0 || at % shape[i]! === 0));
  if (shape.length !== whole.length || places.size !== count || pieces.length !== count || !pieces.every(fits))
    failFile(where, `the parts of ${JSON.stringify(name)} must fill the shape [${whole}] without gap or overlap`);
}
