/** Blocks of tensors, and the runs of bytes that hold them. */
import type { Index } from "@te/sharding";
import { stridesOf } from "@te/tensor/op";

/** A rectangular part of a tensor. */
export interface Block {
  readonly start: readonly number[];
  readonly shape: readonly number[];
}

export const wholeOf = (shape: readonly number[]): Block => ({ start: shape.map(() => 0), shape });

/** The block from [start, end) along each dimension. */
export const blockOf = (index: Index): Block => ({
  start: index.map(([start]) => start),
  shape: index.map(([start, end]) => end - start),
});

export const isSame = (a: Block, b: Block): boolean =>
  a.start.join() === b.start.join() && a.shape.join() === b.shape.join();

/** What two blocks have in common; undefined where that is nothing. */
export function overlapOf(a: Block, b: Block): Block | undefined {
  const start = a.start.map((at, i) => Math.max(at, b.start[i]!));
  const shape = start.map((at, i) => Math.min(a.start[i]! + a.shape[i]!, b.start[i]! + b.shape[i]!) - at);
  return shape.every((length) => length > 0) ? { start, shape } : undefined;
}

/** How many elements stand before the first one of `inner` in a block whose elements lie in row-major order. */
export function offsetIn(block: Block, inner: Block): number {
  const strides = stridesOf(block.shape);
  return inner.start.reduce((offset, at, i) => offset + (at - block.start[i]!) * strides[i]!, 0);
}

/** Whether the elements of `inner` lie without a gap in the block. */
export function isRunOf(block: Block, inner: Block): boolean {
  let dim = block.shape.length - 1;
  while (dim >= 0 && inner.shape[dim] === block.shape[dim]) dim--;
  return inner.shape.slice(0, Math.max(0, dim)).every((length) => length === 1);
}

/** `inner` with the gaps between its runs, where those are of at most so many elements of the block. */
export function bridged(block: Block, inner: Block, most: number): Block {
  const strides = stridesOf(block.shape);
  let dim = block.shape.length;
  const runs = (dim: number): number => inner.shape.slice(0, dim).reduce((n, length) => n * length, 1);
  while (dim > 1 && runs(dim - 1) > 1 && (block.shape[dim - 1]! - inner.shape[dim - 1]!) * strides[dim - 1]! <= most)
    dim--;
  return {
    start: [...inner.start.slice(0, dim), ...block.start.slice(dim)],
    shape: [...inner.shape.slice(0, dim), ...block.shape.slice(dim)],
  };
}

/** Cuts `inner` into runs of the block, each of at most so many elements. */
export function* runsOf(block: Block, inner: Block, most: number): Generator<Block> {
  let dim = block.shape.length - 1;
  while (dim > 0 && inner.shape[dim] === block.shape[dim]) dim--;
  if (dim < 0) {
    yield inner;
    return;
  }
  const rowAlong = (dim: number): number => inner.shape.slice(dim + 1).reduce((n, length) => n * length, 1);
  while (rowAlong(dim) > most) dim++;
  const row = rowAlong(dim);
  const rows = Math.max(1, Math.floor(most / row));
  const outer = inner.shape.slice(0, dim);
  const count = outer.reduce((n, length) => n * length, 1);
  for (let k = 0; k < count; k++) {
    const start = [...inner.start];
    for (let [i, rest] = [dim - 1, k]; i >= 0; i--) {
      start[i]! += rest % outer[i]!;
      rest = Math.floor(rest / outer[i]!);
    }
    for (let at = 0; at < inner.shape[dim]!; at += rows) {
      const length = Math.min(rows, inner.shape[dim]! - at);
      yield {
        start: start.with(dim, inner.start[dim]! + at),
        shape: [...outer.map(() => 1), length, ...inner.shape.slice(dim + 1)],
      };
    }
  }
}
