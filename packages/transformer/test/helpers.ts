import { type DType, TeError, Tensor, tensor, tree } from "@te/tensor";
import { generator, normal, seedOf } from "@te/testkit";
import { expect } from "vitest";

/** Expects a TeError with this code whose message matches. */
export function expectError(code: string, message: RegExp, fn: () => unknown): void {
  let error: unknown;
  try {
    fn();
  } catch (thrown) {
    error = thrown;
  }
  expect(TeError.is(error), `a TeError, got ${error}`).toBe(true);
  expect((error as TeError).message).toMatch(message);
  expect((error as TeError).code).toBe(code);
}

/** Normal numbers, the same for the same seed, rounded to dtype. */
export function normals(shape: readonly number[], o: { seed?: string; std?: number; dtype?: DType } = {}): Tensor {
  const uniform = generator(seedOf(o.seed ?? "x"));
  const size = shape.reduce((product, d) => product * d, 1);
  const values = Float64Array.from({ length: size }, () => (o.std ?? 1) * normal(uniform));
  return tensor(values, { shape, dtype: o.dtype ?? "float32" });
}

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

/** A mask [batch, 1, queries, keys] of uint8 from a rule; 1 hides. */
export function maskOf(
  [batch, queries, keys]: readonly [number, number, number],
  hidden: (b: number, i: number, j: number) => boolean,
): Tensor {
  const codes = new Uint8Array(batch * queries * keys);
  for (let b = 0; b < batch; b++)
    for (let i = 0; i < queries; i++)
      for (let j = 0; j < keys; j++) codes[(b * queries + i) * keys + j] = hidden(b, i, j) ? 1 : 0;
  return tensor(codes, { shape: [batch, 1, queries, keys], dtype: "uint8" });
}
