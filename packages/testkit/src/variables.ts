/** Trees of variables of modules, for tests. */
import { type DType, Tensor, tree } from "@te/tensor";
import { normals } from "./tensors.js";

/** Parameters with noise on those that start as constants, so that tests are not blind to them. */
export function perturbed<T>(params: T, dtype?: DType): T {
  const leaves = tree.leavesWithPath(params).map(({ path, leaf }) => {
    const wide = leaf.astype("float32");
    const noisy = leaf.rank > 1 ? wide : wide.add(normals(leaf.shape, { seed: path.join("/"), std: 0.3 }));
    return noisy.astype(dtype ?? leaf.dtype);
  });
  return tree.unflatten(tree.flatten(params)[1], leaves) as T;
}

/** "path dtype[shape]" of every leaf of a collection. */
export const describeLeaves = (collection: unknown): string[] =>
  tree.leavesWithPath(collection).map(({ path, leaf }) => `${path.join("/")} ${leaf.dtype}[${leaf.shape}]`);

/** A tree as names and bits, to compare whole states. */
export const bits = (state: unknown): Record<string, unknown> =>
  Object.fromEntries(
    tree
      .leavesWithPath(state)
      .map(({ path, leaf }) => [
        path.join("/"),
        leaf instanceof Tensor ? [leaf.dtype, leaf.shape, [...leaf.dataSync()]] : leaf,
      ]),
  );
