import { arange, TeError, type Tensor } from "@te/tensor";

type Pair = readonly [query: Tensor, keyValue: Tensor];

/** One tensor serves queries and keys; two are for queries and for keys. */
function pair(fn: string, given: Tensor | Pair): Pair {
  if (!Array.isArray(given)) return [given as Tensor, given as Tensor];
  if (given.length !== 2)
    throw new TeError("option", `${fn}: a tuple must hold two tensors, for queries and for keys, got ${given.length}.`);
  return given as unknown as Pair;
}

/** Which positions of a batch are real: lengths of right-padded sequences, or segments packed into one row. */
export class SequenceDescriptor {
  private constructor(
    private readonly lengths: Pair | undefined,
    private readonly segmentIds: Pair | undefined,
    private readonly positions: Pair | undefined,
    private readonly mask: Tensor | undefined = undefined,
  ) {}

  /** int32 [B]: the first `length` positions of each row are real. */
  static fromSeqlens(seqlens: Tensor | Pair): SequenceDescriptor {
    return new SequenceDescriptor(pair("SequenceDescriptor.fromSeqlens", seqlens), undefined, undefined);
  }

  /**
   * int32 [B, S] ids (0 = padding; positions attend only within one id) and positions inside the segment, which causal
   * masks and windows count in.
   */
  static fromSegmentIdsAndPos(segmentIds: Tensor | Pair, segmentPos: Tensor | Pair): SequenceDescriptor {
    const fn = "SequenceDescriptor.fromSegmentIdsAndPos";
    if (!segmentPos)
      throw new TeError("option", `${fn}: segmentPos is required. Give each token its position inside its segment.`);
    const ids = pair(fn, segmentIds);
    const positions = pair(fn, segmentPos);
    ids.forEach((id, i) => {
      if (String(id.shape) !== String(positions[i]!.shape)) {
        throw new TeError(
          "shape",
          `${fn}: segmentPos must have the shape of segmentIds, [${id.shape}], got [${positions[i]!.shape}].`,
        );
      }
    });
    return new SequenceDescriptor(undefined, ids, positions);
  }

  /** @internal Explicit positions, int32 [B, Sq] and [B, Skv], and a mask array: what decoding with a cache needs. */
  static fromPositions(positions: Pair, mask: Tensor | undefined): SequenceDescriptor {
    return new SequenceDescriptor(undefined, undefined, positions, mask);
  }

  /** @internal Operands of the attention op; [B, S] for batch-first and sequence-first alike. */
  operands(queries: number, keys: number): Record<string, Tensor> {
    const { segmentIds, positions, mask } = this;
    if (positions) {
      return {
        ...(segmentIds && { segmentsQ: segmentIds[0], segmentsKv: segmentIds[1] }),
        positionsQ: positions[0],
        positionsKv: positions[1],
        ...(mask && { mask }),
      };
    }
    const ids = (lengths: Tensor, size: number): Tensor =>
      arange(size).expandDims(0).lt(lengths.expandDims(-1)).astype("int32");
    return { segmentsQ: ids(this.lengths![0], queries), segmentsKv: ids(this.lengths![1], keys) };
  }
}
