/** Sequence descriptors: real tokens and segments of a batch, and the operands that attention makes of them. */
import { arange, ones, scatterAdd, type Tensor, Tensor as TensorClass, where } from "@te/tensor";
import { checkRange, expectObject, expectSize, expectTensor, fail } from "@te/tensor/op";

type Pair = readonly [query: Tensor, keyValue: Tensor];

/** What is known of the tokens of queries or of keys, int32 [B, S]: segment ids (0 = padding) and positions inside. */
interface Tokens {
  readonly ids?: Tensor | undefined;
  readonly positions?: Tensor | undefined;
}

/** The tokens of `length` columns, for side 0 (queries) or 1 (keys). */
type Describe = (side: 0 | 1, length: number) => Tokens;

/** How attention wants its sequences. */
export interface SequenceRequest {
  readonly queries: number;
  readonly keys: number;
  /** Align the last query of each segment with its last key. */
  readonly bottomRight: boolean;
}

/**
 * Which tokens of a batch are real: lengths of right-padded sequences, or segments packed one after the other into rows.
 * Passed to attention in place of a mask, with a padding mask type. Every constructor takes one tensor for queries and
 * keys alike, or a pair. Queries and keys see each other within one segment; segment 0 is padding, whose queries give zeros.
 *
 * Throws TeError: "option" for what is no tensor or pair of tensors, "dtype" for another dtype than int32, "shape" for
 * shapes that do not belong together. Lengths, ends, ids and positions that no row can have are errors of code "index", which
 * surface where a result of attention is read.
 */
export class SequenceDescriptor {
  private constructor(
    private readonly describe: Describe,
    /** Segments with positions of their own, as packed sequences need them. */
    readonly packed: boolean,
    /** It tells the segment and position of each token, in whatever order the tokens are. */
    readonly placed: boolean,
    private readonly mask?: Tensor | undefined,
  ) {}

  /** int32 [B]: the first `length` tokens of each row are real. */
  static fromSeqlens(seqlens: Tensor | Pair): SequenceDescriptor {
    const lengths = pair("fromSeqlens", "seqlens", seqlens, 1);
    const ids = (side: 0 | 1, length: number): Tensor => {
      const known = inRange("fromSeqlens", lengths[side], "every length", 0, length, lengthsOf(length));
      return arange(length).expandDims(0).lt(known.expandDims(-1)).astype("int32");
    };
    return new SequenceDescriptor((side, length) => ({ ids: ids(side, length) }), false, false);
  }

  /**
   * Packed sequences: int32 lengths [B, N] and int32 offsets [B, N + 1] of the segments of each row, and after the last one
   * its end; slots that are not used hold -1. Ids [[1, 1, 2, 3], [1, 1, 2, 0]] are lengths [[2, 1, 1, -1], [2, 1, -1, -1]]
   * and offsets [[0, 2, 3, 4, -1], [0, 2, 3, -1, -1]].
   */
  static fromSeqlensAndOffsets(seqlens: Tensor | Pair, seqOffsets: Tensor | Pair): SequenceDescriptor {
    const fn = "fromSeqlensAndOffsets";
    const lengths = pair(fn, "seqlens", seqlens, 2);
    const offsets = pair(fn, "seqOffsets", seqOffsets, 2);
    lengths.forEach(({ shape: [batch, count] }, side) => {
      const { shape } = offsets[side as 0 | 1];
      if (shape[0] === batch && shape[1] === count! + 1) return;
      const rule = `seqOffsets must have shape [${batch},${count! + 1}], one column more than seqlens`;
      fail("shape", `SequenceDescriptor.${fn}`, rule, offsets[side as 0 | 1]);
    });
    return new SequenceDescriptor((side, length) => segmentsAt(lengths[side], offsets[side], length), true, false);
  }

  /**
   * Packed sequences: int32 [B, S] segment ids, which count from 1 (0 = padding), and int32 [B, S] positions inside the
   * segment, in which causal masks and windows count.
   */
  static fromSegmentIdsAndPos(segmentIds: Tensor | Pair, segmentPos: Tensor | Pair): SequenceDescriptor {
    const fn = "fromSegmentIdsAndPos";
    if (segmentPos === undefined || segmentPos === null) {
      const wayOut = "Give each token its position inside its segment.";
      fail("option", `SequenceDescriptor.${fn}`, "segmentPos is required", undefined, wayOut);
    }
    const ids = pair(fn, "segmentIds", segmentIds, 2);
    const positions = pair(fn, "segmentPos", segmentPos, 2);
    ids.forEach((id, side) => {
      const { shape } = positions[side as 0 | 1];
      if (String(id.shape) === String(shape)) return;
      const rule = `segmentPos must have the shape of segmentIds, [${id.shape}]`;
      fail("shape", `SequenceDescriptor.${fn}`, rule, `[${shape}]`);
    });
    const known = (side: 0 | 1): Tokens => ({
      ids: inRange(fn, ids[side], "every segment id", 0, INT32_MAX, "Ids count from 1, and 0 is padding."),
      positions: inRange(
        fn,
        positions[side],
        "every position",
        0,
        INT32_MAX,
        "Positions count from 0 in each segment.",
      ),
    });
    return new SequenceDescriptor(known, true, true);
  }

  /**
   * @internal New tokens against a cache: their positions and those of the cached keys, int32 [B, S], where `given` has none
   * of its own, and a mask that hides keys besides.
   */
  static fromCache(
    positions: Pair,
    given: SequenceDescriptor | undefined,
    mask: Tensor | undefined,
  ): SequenceDescriptor {
    const fn = "SequenceDescriptor.fromCache";
    pair("fromCache", "positions", positions, 2);
    if (given !== undefined) SequenceDescriptor.check(fn, given);
    if (mask !== undefined) expectTensor(fn, { mask });
    const describe: Describe = (side, length) => ({ positions: positions[side], ...given?.describe(side, length) });
    return new SequenceDescriptor(describe, true, false, mask);
  }

  private static check(fn: string, value: unknown): void {
    if (!(value instanceof SequenceDescriptor))
      fail(
        "option",
        fn,
        "the value must be a SequenceDescriptor",
        value ?? String(value),
        "Make one with fromSeqlens.",
      );
  }

  /** @internal Operands of the attention op; [B, S] for batch-first and sequence-first alike. */
  operands(request: SequenceRequest): Record<string, Tensor> {
    const fn = "SequenceDescriptor.operands";
    SequenceDescriptor.check(fn, this);
    expectObject(fn, { request });
    const { queries, keys, bottomRight } = request;
    expectSize(fn, { queries, keys });
    const [q, kv] = [this.describe(0, queries), this.describe(1, keys)];
    const positions = (t: Tokens): Tensor =>
      t.positions ?? arange(t.ids!.shape[1]!).expandDims(0).broadcastTo(t.ids!.shape);
    return {
      ...(q.ids && { segmentsQ: q.ids, segmentsKv: kv.ids! }),
      ...((q.positions || bottomRight) && {
        positionsQ: bottomRight ? positions(q).add(surplus(q.ids!, kv.ids!)) : positions(q),
        positionsKv: positions(kv),
      }),
      ...(this.mask && { mask: this.mask }),
    };
  }
}

/** A mask says what is hidden, a descriptor what is real: a cast alone would turn one into the opposite of the other. */
const OF_MASKS: Readonly<Record<string, string>> = {
  seqlens: 'From a mask [batch, length] of 1 = visible: mask.astype("int32").sum(1); of 1 = hidden: mask.eq(0) first.',
  segmentIds: "Ids count from 1 and 0 is padding: a mask [batch, length] of 1 = hidden is mask.eq(0) here.",
};

const INT32_MAX = 2 ** 31 - 1;

/** One text for queries and keys, so that equal checks become one. */
const lengthsOf = (length: number): string =>
  `A row has ${length} tokens; give a pair where queries and keys differ in number.`;

/** x, an element of which outside [low, high] makes what is computed from the result fail. */
const inRange = (method: string, x: Tensor, what: string, low: number, high: number, wayOut: string): Tensor =>
  checkRange(x, { fn: `SequenceDescriptor.${method}`, what, low, high, wayOut });

/** One tensor serves queries and keys; two are for queries and for keys. All int32 of this rank. */
function pair(method: string, name: string, given: Tensor | Pair, rank: number): Pair {
  const fn = `SequenceDescriptor.${method}`;
  const both: readonly unknown[] = Array.isArray(given) ? given : [given, given];
  if (both.length !== 2) fail("option", fn, "a tuple must hold two tensors, for queries and for keys", both.length);
  for (const t of both) {
    if (!(t instanceof TensorClass))
      fail("option", fn, `${name} must be a tensor or a pair of tensors`, t ?? String(t));
    if (t.dtype !== "int32")
      fail("dtype", fn, `${name} must be int32`, t, `Cast it with astype("int32"). ${OF_MASKS[name] ?? ""}`.trim());
    if (t.rank !== rank) {
      const rule = `${name} must have ${rank === 1 ? "shape [batch]" : "2 axes, batch first"}`;
      fail("shape", fn, rule, t, OF_MASKS[name]);
    }
  }
  return both as unknown as Pair;
}

/** Ids and positions of `length` columns from the lengths and offsets of up to N segments per row. */
function segmentsAt(lengths: Tensor, offsets: Tensor, length: number): Tokens {
  const [batch, count] = lengths.shape as [number, number];
  const check = (x: Tensor, what: string): Tensor =>
    inRange("fromSeqlensAndOffsets", x, what, -1, length, `-1 is a slot that is not used. ${lengthsOf(length)}`);
  const size = check(lengths, "every length");
  const first = check(offsets, "every offset").slice([0, 0], [batch, count]);
  const end = check(where(size.gt(0), first.add(size), 0), "every offset plus its length");
  const start = where(size.gt(0), end.sub(size), -1).expandDims(1); // [B, 1, N]
  const inside = arange(length).reshape([1, length, 1]).sub(start); // [B, S, N]
  const here = inside
    .ge(0)
    .logicalAnd(inside.lt(size.expandDims(1)))
    .astype("int32");
  return { ids: here.mul(arange(count).add(1)).sum(2), positions: here.mul(inside).sum(2) };
}

/** For each query, how many more keys than queries its segment has. */
function surplus(queryIds: Tensor, keyIds: Tensor): Tensor {
  const [batch, queries] = queryIds.shape as [number, number];
  const slots = queries + keyIds.shape[1]! + 1; // ids count from 1, and each has a token
  const known = (ids: Tensor): Tensor =>
    checkRange(ids, {
      fn: "SequenceDescriptor",
      what: "every segment id of a bottom-right mask type",
      low: 0,
      high: slots - 1,
      wayOut: "Number the segments of each row 1, 2, …; 0 is padding.",
    });
  const rows = arange(batch).mul(slots).expandDims(1);
  const flat = (ids: Tensor): Tensor => known(ids).add(rows).reshape([-1]);
  const count = (ids: Tensor): Tensor =>
    scatterAdd(flat(ids), ones([ids.shape[0]! * ids.shape[1]!]), { size: batch * slots });
  const more = count(keyIds).sub(count(queryIds));
  return more.take(flat(queryIds)).reshape(queryIds.shape).astype("int32");
}
