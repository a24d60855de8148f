/** Orders of a sequence for context parallelism under causal masks, in which every device has the same to compute. */
import type { Tensor } from "@te/tensor";
import { expectTensor, fail } from "@te/tensor/op";
import { failChoice } from "./choices.js";
import { dualChunks, inverseOf, permuteChunks } from "./ops/context-order.js";

/**
 * DualChunkSwap: of 2n chunks device r gets chunk r and chunk 2n - 1 - r. Striped: stripes of some positions go to the devices
 * in turn, which suits packed sequences.
 */
export const ReorderStrategy = { DualChunkSwap: "dual_chunk_swap", Striped: "striped" } as const;
export type ReorderStrategy = (typeof ReorderStrategy)[keyof typeof ReorderStrategy];

/**
 * x with the positions along `seqDim` in the order in which `cpSize` devices hold them, one part after the other. Queries,
 * keys and values, or the tokens that they are made of, are reordered alike, segment ids and positions too. For 16 positions
 * and 4 devices: DualChunkSwap 0, 1, 14, 15, 2, 3, 12, 13, …; Striped with stripes of 1: 0, 4, 8, 12, 1, 5, ….
 *
 * `stripeSize` is for Striped: the positions of a stripe, 1 by default. Throws TeError: "option" for another strategy, an odd
 * cpSize above 1 with DualChunkSwap and a stripeSize that is not of use, "shape" where the dimension is not a multiple of
 * 2 cpSize, or of cpSize stripeSize.
 */
export function reorderCausalLoadBalancing(
  x: Tensor,
  strategy: ReorderStrategy,
  cpSize: number,
  seqDim: number,
  stripeSize: number | null = null,
): Tensor {
  return reorder("reorderCausalLoadBalancing", false, x, strategy, cpSize, seqDim, stripeSize);
}

/** Takes back what {@link reorderCausalLoadBalancing} did, for results; the same rules. */
export function inverseReorderCausalLoadBalancing(
  x: Tensor,
  strategy: ReorderStrategy,
  cpSize: number,
  seqDim: number,
  stripeSize: number | null = null,
): Tensor {
  return reorder("inverseReorderCausalLoadBalancing", true, x, strategy, cpSize, seqDim, stripeSize);
}

function reorder(
  fn: string,
  isInverse: boolean,
  x: Tensor,
  strategy: ReorderStrategy,
  cpSize: number,
  seqDim: number,
  stripeSize: number | null,
): Tensor {
  expectTensor(fn, { x });
  if (!Number.isInteger(seqDim) || seqDim < -x.rank || seqDim >= x.rank)
    fail("option", fn, `seqDim must be one of ${x.rank} dimensions`, seqDim);
  if (!Number.isSafeInteger(cpSize) || cpSize < 1)
    fail("option", fn, "cpSize must be an integer of at least 1", cpSize);
  const axis = seqDim < 0 ? seqDim + x.rank : seqDim;
  if (strategy === ReorderStrategy.DualChunkSwap) {
    if (stripeSize !== null) fail("option", fn, "DualChunkSwap has no stripeSize", stripeSize, "Pass null.");
    if (cpSize === 1) return x;
    if (cpSize % 2 !== 0) fail("option", fn, "cpSize must be even for DualChunkSwap", cpSize, "Use Striped.");
    checkMultiple(fn, x, axis, 2 * cpSize);
    const chunks = dualChunks(cpSize);
    return permuteChunks(x, axis, isInverse ? inverseOf(chunks) : chunks);
  }
  if (strategy !== ReorderStrategy.Striped)
    failChoice(fn, "strategy", "ReorderStrategy.DualChunkSwap or ReorderStrategy.Striped", strategy);
  const stripe = stripeSize ?? 1;
  if (!Number.isSafeInteger(stripe) || stripe < 1)
    fail("option", fn, "stripeSize must be an integer of at least 1, or null", stripe);
  checkMultiple(fn, x, axis, cpSize * stripe);
  const rounds = x.shape[axis]! / (cpSize * stripe);
  const [before, after] = [x.shape.slice(0, axis), x.shape.slice(axis + 1)];
  const [first, second] = isInverse ? [cpSize, rounds] : [rounds, cpSize];
  return x
    .reshape([...before, first, second, stripe, ...after])
    .swapAxes(axis, axis + 1)
    .reshape(x.shape);
}

function checkMultiple(fn: string, x: Tensor, axis: number, of: number): void {
  if (x.shape[axis]! % of !== 0) fail("shape", fn, `dimension ${axis} of x must be a multiple of ${of}`, x, "Pad it.");
}
