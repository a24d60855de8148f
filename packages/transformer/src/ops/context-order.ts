/** Orders in which devices hold the positions of a sequence that is split: each of them has one part of it. */
import { arange, concat, type Tensor } from "@te/tensor";

/**
 * "none": the parts of devices are those of the sequence. "dual_chunk_swap": of twice as many chunks as devices, device r has
 * chunk r and the r-th from the end, so that under a causal mask all have the same to compute.
 */
export type ContextOrder = "none" | "dual_chunk_swap";

/** The chunks in the order in which devices hold them: two for each. */
export const dualChunks = (devices: number): number[] =>
  Array.from({ length: devices }, (_, r) => [r, 2 * devices - 1 - r]).flat();

/** The positions of what a device holds, in a part of the given length: int32 [length]. */
export function positionsOf(order: ContextOrder, device: number, devices: number, length: number): Tensor {
  if (order === "none") return arange(device * length, (device + 1) * length);
  const chunk = length / 2;
  const chunks = [device, 2 * devices - 1 - device];
  return concat(chunks.map((at) => arange(at * chunk, (at + 1) * chunk)));
}

/** The positions of a whole sequence as devices hold it. */
export const allPositions = (order: ContextOrder, devices: number, length: number): Tensor =>
  order === "none"
    ? arange(length)
    : concat(Array.from({ length: devices }, (_, r) => positionsOf(order, r, devices, length / devices)));

/** x with the equal chunks of an axis in another order: first the chunk `chunks[0]`, then the others. */
export function permuteChunks(x: Tensor, axis: number, chunks: readonly number[]): Tensor {
  const length = x.shape[axis]! / chunks.length;
  return concat(
    chunks.map((at) => {
      const start = x.shape.map((_, i) => (i === axis ? at * length : 0));
      return x.slice(
        start,
        x.shape.map((d, i) => (i === axis ? (at + 1) * length : d)),
      );
    }),
    axis,
  );
}

/** The chunks that undo an order. */
export const inverseOf = (chunks: readonly number[]): number[] => chunks.map((_, at) => chunks.indexOf(at));
