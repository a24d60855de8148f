/** A tensor as files hold it: whole in one of them, or in blocks in several. */
import { fail, stridedCopy, stridesOf } from "@te/tensor/op";
import { type Block, isRunOf, isSame, offsetIn, overlapOf, runsOf, wholeOf } from "./blocks.js";
import { bitsOf, type StoredType } from "./format.js";
import type { Source } from "./source.js";

/** A block that a file has, from `begin` on in the bytes after the header. */
export interface Piece {
  readonly source: Source;
  readonly begin: number;
  readonly block: Block;
}

export interface StoredTensor {
  readonly name: string;
  readonly type: StoredType;
  readonly shape: readonly number[];
  readonly pieces: readonly Piece[];
}

/** The bytes of a block of some type. */
export const bytesIn = (type: StoredType, { shape }: Block): number =>
  shape.reduce((n, length) => n * length, bitsOf(type)) / 8;

/** Of one read, so that what has to be moved afterwards is not in memory twice. */
const MOST_BYTES = 2 ** 24;

/** The tensor as files have it in full, and nothing else. */
export function tensorsOfSource(source: Source): StoredTensor[] {
  return [...source.header.entries.values()].map(({ name, type, shape, begin }) => ({
    name,
    type,
    shape,
    pieces: [{ source, begin, block: wholeOf(shape) }],
  }));
}

/** Reads a block into a buffer of its size: from every piece the bytes that are in both, and no others. */
export async function readBlock(tensor: StoredTensor, wanted: Block, buffer: ArrayBuffer): Promise<void> {
  const { name, type, pieces } = tensor;
  const [first] = pieces;
  if (bitsOf(type) % 8 !== 0) {
    if (pieces.length > 1 || !isSame(first!.block, wanted))
      fail(
        "unsupported",
        first!.source.where,
        `${name} of ${type}, whose elements are no whole bytes, is read as a whole`,
      );
    return first!.source.read(name, first!.begin, buffer, 0, buffer.byteLength);
  }
  for (const piece of pieces) await readOverlap(tensor, piece, wanted, buffer);
}

async function readOverlap({ name, type }: StoredTensor, piece: Piece, wanted: Block, into: ArrayBuffer) {
  const { source, begin, block } = piece;
  const inner = overlapOf(block, wanted);
  if (!inner) return;
  const width = bitsOf(type) / 8;
  const strides = [...stridesOf(wanted.shape).map((stride) => stride * width), 1];
  for (const run of runsOf(block, inner, MOST_BYTES / width)) {
    const from = begin + offsetIn(block, run) * width;
    const to = offsetIn(wanted, run) * width;
    const length = bytesIn(type, run);
    if (isRunOf(wanted, run)) {
      await source.read(name, from, into, to, length);
      continue;
    }
    const staged = new ArrayBuffer(length);
    await source.read(name, from, staged, 0, length);
    const shape = [...run.shape, width];
    stridedCopy(shape, new Uint8Array(staged), stridesOf(shape), 0, new Uint8Array(into), strides, to);
  }
}
