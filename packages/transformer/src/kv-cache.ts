/** Decoding: keys and values of earlier tokens, and what a new token sees of them. */
import type { Variable } from "@te/layers";
import { arange, dynamicSlice, dynamicUpdateSlice, type Tensor, zeros } from "@te/tensor";
import { checkRange, fail } from "@te/tensor/op";
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

const FN = "MultiHeadAttention";
const INIT =
  "Call init with decode: true and inputs of the full length and this batch size, and pass its cache to apply.";

/** The names of a cache's variables. */
export const CACHE_NAMES = ["cached_key", "cached_value", "cache_index"] as const;

/** Throws where a variable of the cache that `has` looks for is missing: decoding never makes one of the new tokens alone. */
export function expectCache(has: (name: string) => boolean): void {
  for (const name of CACHE_NAMES)
    if (!has(name)) fail("state", FN, `decode needs the variable ${name} of collection cache`, "none", INIT);
}

/**
 * Where `count` new tokens begin: the cache's index, checked. An index that leaves no room is an error of code "index", which
 * surfaces where a result of the program is read.
 */
export function startOf(cache: KvCache, count: number): Tensor {
  const { axis, keys, values, index } = cache;
  const { shape } = keys.value;
  if (shape.length !== 4) fail("shape", FN, "cached_key must have 4 axes", keys.value, INIT);
  for (const other of [0, 1, 2])
    if (values.value.shape[other] !== shape[other] || values.value.rank !== 4)
      fail(
        "shape",
        FN,
        `cached_value must have the batch, length and heads of cached_key, [${shape}]`,
        values.value,
        INIT,
      );
  if (index.value.rank !== 0 || index.value.dtype !== "int32")
    fail("shape", FN, "cache_index must be int32[]", index.value, INIT);
  const length = shape[axis]!;
  return checkRange(index.value, {
    fn: FN,
    what: `cache_index, where ${count === 1 ? "a token is" : `${count} tokens are`} added to a cache of ${length},`,
    low: 0,
    high: Math.max(0, length - count), // More tokens than the whole cache are refused by their shape.
    wayOut: "Call init with longer inputs, or start again with an empty cache.",
  });
}

/** Writes the keys and values of new tokens at `start`, see {@link startOf}, and moves the index past them. */
export function extendCache(
  cache: KvCache,
  start: Tensor,
  fresh: { readonly k: Tensor; readonly v: Tensor },
  given: Tensor | SequenceDescriptor | null | undefined,
  bias: Tensor | null | undefined,
): CachedSequence {
  const { axis } = cache;
  const [count, length] = [fresh.k.shape[axis]!, cache.keys.value.shape[axis]!];
  checkRoom("keys", fresh.k, cache.keys.value, axis);
  checkRoom("values", fresh.v, cache.values.value, axis);
  cache.keys.value = write(cache.keys.value, fresh.k, start, axis);
  cache.values.value = write(cache.values.value, fresh.v, start, axis);
  cache.index.value = start.add(count);
  return {
    keys: cache.keys.value,
    values: cache.values.value,
    sequences: sequencesFrom(start, { batch: fresh.k.shape[1 - axis]!, queries: count, keys: length }, given, true),
    bias: bias ? rowsOfBias(bias, start, count, length) : null,
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
    fail("shape", FN, rule, bias, "Give maxDecodeLength the cache's length where there is one.");
  }
  if (rows === count) return bias;
  const zero = zeros([], { dtype: "int32" });
  return dynamicSlice(bias, [zero, zero, index, zero], [batch, heads, count, length]);
}

function checkRoom(what: string, fresh: Tensor, cached: Tensor, axis: number): void {
  const fits = fresh.shape.every((d, i) => (i === axis ? d <= cached.shape[i]! : d === cached.shape[i]));
  if (fits && fresh.dtype === cached.dtype) return;
  fail("shape", FN, `new ${what} must fit the cache, ${cached.dtype}[${cached.shape}]`, fresh, INIT);
}
