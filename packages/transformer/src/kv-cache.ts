/** Decoding: keys and values of earlier tokens, and what a new token sees of them. */
import type { Variable } from "@te/layers";
import { arange, dynamicSlice, dynamicUpdateSlice, fail, type Tensor, zeros } from "@te/tensor";
import { SequenceDescriptor } from "./sequence-descriptor.js";

/** The variables of collection cache: keys and values [B, L, g, d] (or [L, B, g, d]) and how many tokens they hold. */
export interface KvCache {
  readonly keys: Variable;
  readonly values: Variable;
  readonly index: Variable;
  /** The axis of L. */
  readonly axis: 0 | 1;
}

/** New tokens in the cache: everything that attention needs to let them see positions 0 … index + i. */
export interface CachedSequence {
  readonly keys: Tensor;
  readonly values: Tensor;
  readonly sequences: SequenceDescriptor;
  readonly bias: Tensor | null;
}

/** Writes the keys and values of new tokens at the cache's index and moves the index past them. */
export function extendCache(
  cache: KvCache,
  fresh: { readonly k: Tensor; readonly v: Tensor },
  given: Tensor | SequenceDescriptor | null | undefined,
  bias: Tensor | null | undefined,
): CachedSequence {
  const { axis } = cache;
  const index = cache.index.value;
  const [count, length] = [fresh.k.shape[axis]!, cache.keys.value.shape[axis]!];
  checkRoom(fresh.k, cache.keys.value, axis);
  cache.keys.value = write(cache.keys.value, fresh.k, index, axis);
  cache.values.value = write(cache.values.value, fresh.v, index, axis);
  cache.index.value = index.add(count);
  return {
    keys: cache.keys.value,
    values: cache.values.value,
    sequences: sequencesFrom(index, { batch: fresh.k.shape[1 - axis]!, queries: count, keys: length }, given, true),
    bias: bias ? rowsOfBias(bias, index, count, length) : null,
  };
}

function write(to: Tensor, fresh: Tensor, index: Tensor, axis: number): Tensor {
  const zero = zeros([], { dtype: "int32" });
  return dynamicUpdateSlice(
    to,
    fresh,
    [0, 1, 2, 3].map((i) => (i === axis ? index : zero)),
  );
}

/**
 * Queries at positions start, start + 1, … of which each sees keys at positions 0, 1, … A descriptor with positions of its
 * own counts in those.
 */
export function sequencesFrom(
  start: Tensor,
  { batch, queries, keys }: { readonly batch: number; readonly queries: number; readonly keys: number },
  given: Tensor | SequenceDescriptor | null | undefined,
  /** Hide keys after the query whatever the descriptor counts in: they are not written yet. */
  hideLater = false,
): SequenceDescriptor {
  const now = arange(queries).add(start);
  const all = arange(keys);
  const rows = (positions: Tensor): Tensor => positions.expandDims(0).broadcastTo([batch, positions.shape[0]!]);
  const described = given instanceof SequenceDescriptor ? given : undefined;
  const later = (): Tensor => all.reshape([1, 1, 1, keys]).gt(now.reshape([1, 1, queries, 1]));
  const mask = given instanceof SequenceDescriptor ? (hideLater && given.packed ? later() : undefined) : given;
  return SequenceDescriptor.fromCache([rows(now), rows(all)], described, mask ?? undefined);
}

/** A bias of all positions, [.., .., L, L], gives the rows of the new tokens; one of the new tokens is left alone. */
function rowsOfBias(bias: Tensor, index: Tensor, count: number, length: number): Tensor {
  const [batch, heads, rows, columns] = bias.shape as [number, number, number, number];
  if (bias.rank !== 4 || columns !== length || (rows !== count && rows !== length)) {
    const rule = `bias must have shape [.., .., ${count} or ${length}, ${length}], the new tokens or all positions of the cache`;
    fail("shape", "MultiHeadAttention", rule, bias, "Give maxDecodeLength the cache's length where there is one.");
  }
  if (rows === count) return bias;
  const zero = zeros([], { dtype: "int32" });
  return dynamicSlice(bias, [zero, zero, index, zero], [batch, heads, count, length]);
}

function checkRoom(fresh: Tensor, cached: Tensor, axis: number): void {
  const fits = fresh.shape.every((d, i) => (i === axis ? d <= cached.shape[i]! : d === cached.shape[i]));
  if (fits && fresh.dtype === cached.dtype) return;
  fail(
    "shape",
    "MultiHeadAttention",
    `new keys must fit the cache, ${cached.dtype}[${cached.shape}]`,
    fresh,
    "Call init with decode: true and inputs of the full length and this batch size.",
  );
}
