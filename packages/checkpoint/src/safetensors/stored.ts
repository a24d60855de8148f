/** A tensor as files hold it: whole in one of them, or in blocks in several. */
import { fail, stridedCopy, stridesOf } from "@te/tensor/op";
import { type Block, bridged, isRunOf, isSame, offsetIn, overlapOf, runsOf, wholeOf } from "./blocks.js";
import { addToChecksum } from "./checksums.js";
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

/** So many bytes that nobody wants are read in less time than another read takes. */
const GAP_BYTES = 2 ** 14;

/** The tensor as files have it in full, and nothing else. */
export function tensorsOfSource(source: Source): StoredTensor[] {
  return [...source.header.entries.values()].map(({ name, type, shape, begin }) => ({
    name,
    type,
    shape,
    pieces: [{ source, begin, block: wholeOf(shape) }],
  }));
}

/**
 * Reads a block into a buffer of its size: from every piece the bytes that are in both, and with them those in narrow gaps
 * between them. The checksum of a piece that is read as a whole is compared.
 */
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
    await first!.source.read(name, first!.begin, buffer, 0, buffer.byteLength);
    return first!.source.check(name, addToChecksum(0, new DataView(buffer)));
  }
  for (const piece of pieces) await readOverlap(tensor, piece, wanted, buffer);
}

async function readOverlap({ name, type }: StoredTensor, piece: Piece, wanted: Block, into: ArrayBuffer) {
  const { source, begin, block } = piece;
  const inner = overlapOf(block, wanted);
  if (!inner) return;
  const width = bitsOf(type) / 8;
  const strides = [...stridesOf(wanted.shape).map((stride) => stride * width), 1];
  const isWhole = isSame(inner, block);
  let sum = 0;
  for (const run of runsOf(block, bridged(block, inner, GAP_BYTES / width), MOST_BYTES / width)) {
    const part = overlapOf(run, inner);
    if (!part) continue;
    const from = begin + offsetIn(block, run) * width;
    const to = offsetIn(wanted, part) * width;
    const length = bytesIn(type, run);
    const isDirect = isSame(run, part) && isRunOf(wanted, run);
    const read = isDirect ? into : new ArrayBuffer(length);
    await source.read(name, from, read, isDirect ? to : 0, length);
    if (isWhole) sum = addToChecksum(sum, new DataView(read, isDirect ? to : 0, length));
    if (isDirect) continue;
    const shape = [...part.shape, width];
    const own = stridesOf([...run.shape, width]);
    stridedCopy(shape, new Uint8Array(read), own, offsetIn(run, part) * width, new Uint8Array(into), strides, to);
  }
  if (isWhole) source.check(name, sum);
}
