/** The name of the collection that holds FP8 state, and how new state takes the place of old. */
import { tree } from "@te/tensor";
import { declareStateCollection, fail } from "@te/tensor/op";

/** Name of the collection of FP8 state among a module's variables. */
export const FP8_COLLECTION_NAME = "fp8_metas";
declareStateCollection(FP8_COLLECTION_NAME);

export const NVTE_FP8_COLLECTION_NAME = FP8_COLLECTION_NAME;

type Collections = Readonly<Record<string, unknown>>;

/** O with the entries of N in place of its own. */
type Replaced<O, N> = { [K in keyof O as K extends keyof N ? never : K]: O[K] } & N;

/**
 * The collections of `original` with those of `fresh` in place of theirs: `updateCollections({ fp8_metas }, variables)`.
 * Whole collections are replaced, nothing below them is merged, and neither argument changes. The result is frozen if
 * `original` is.
 */
export function updateCollections<N extends Collections, O extends Collections>(fresh: N, original: O): Replaced<O, N> {
  for (const [argument, value] of [
    ["the new collections", fresh],
    ["the original collections", original],
  ] as const) {
    if (!tree.isPlainObject(value))
      fail("option", "updateCollections", `${argument} must be a plain object`, value, "Pass { fp8_metas: ... }.");
  }
  const merged = { ...original, ...fresh };
  return (Object.isFrozen(original) ? Object.freeze(merged) : merged) as Replaced<O, N>;
}
