/** The norm of all gradients together, and clipping by it. */
import { full, type Tensor, type TensorTree, tree } from "@te/tensor";
import { fail } from "@te/tensor/op";
import { expectTrees } from "./check.js";
import { type EmptyState, type GradientTransformation, mapTensors } from "./transform.js";

/** √Σ x² over all elements of all leaves, as float32[]. */
export function globalNorm<G extends TensorTree<G>>(updates: G): Tensor {
  expectTrees("globalNorm", { updates });
  const squares = tree.leaves(updates).map((leaf) => {
    const x = leaf.astype("float32");
    return x.mul(x).sum();
  });
  return squares.reduce((a, b) => a.add(b), full([], 0)).sqrt();
}

/** Scales gradients so that their global norm is at most `maxNorm`; smaller ones stay as they are, bit for bit. */
export function clipByGlobalNorm(maxNorm: number): GradientTransformation<EmptyState> {
  if (typeof maxNorm !== "number" || !(maxNorm > 0))
    fail("option", "clipByGlobalNorm", "maxNorm must be a positive number", maxNorm ?? String(maxNorm));
  return {
    init: () => ({}),
    update(grads, state) {
      expectTrees("clipByGlobalNorm", { grads });
      const norm = globalNorm(grads);
      const small = norm.lt(maxNorm);
      const clip = (g: Tensor) => small.where(g, g.astype("float32").div(norm).mul(maxNorm).astype(g.dtype));
      return [mapTensors(clip, grads), state];
    },
  };
}
