/** The orders of context parallelism: their permutations, what undoes them, and what they refuse. */
import { devicePut, Mesh, NamedSharding, PartitionSpec, withMesh } from "@te/sharding";
import { arange, grad, type Tensor } from "@te/tensor";
import { expectError, findBitDifference, normals } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { inverseReorderCausalLoadBalancing, ReorderStrategy, reorderCausalLoadBalancing } from "../src/index.js";

const { DualChunkSwap, Striped } = ReorderStrategy;
const numbers = (t: Tensor): number[] => Array.from(t.dataSync(), Number);

describe("16 positions on 4 devices", () => {
  test.each([
    ["DualChunkSwap", DualChunkSwap, null, [0, 1, 14, 15, 2, 3, 12, 13, 4, 5, 10, 11, 6, 7, 8, 9]],
    ["Striped", Striped, null, [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15]],
    ["Striped by 2", Striped, 2, [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15]],
  ] as const)("%s", (_, strategy, stripe, expected) => {
    expect(numbers(reorderCausalLoadBalancing(arange(16), strategy, 4, 0, stripe))).toEqual(expected);
  });
});

describe.each([2, 4, 8])("cp %i", (cp) => {
  test.each([
    ["DualChunkSwap", DualChunkSwap, null],
    ["Striped", Striped, 1],
    ["Striped by 4", Striped, 4],
  ] as const)("%s is undone to the bit", (_, strategy, stripe) => {
    for (const [shape, dim] of [
      [[3, 32, 8, 64], 1],
      [[4, 32, 12, 32], 1],
      [[1, 16, 1, 1], 1],
      [[32, 3, 2], 0],
      [[2, 3, 32], -1],
    ] as const) {
      if (shape.at(dim)! % (cp * (stripe ?? 2)) !== 0) continue;
      const x = normals([...shape]);
      const there = reorderCausalLoadBalancing(x, strategy, cp, dim, stripe);
      // One stripe for each device is the order that there is.
      const isMoved = shape.at(dim)! > cp * (stripe ?? 1);
      expect(findBitDifference(there, x) !== undefined).toBe(isMoved);
      expect(findBitDifference(inverseReorderCausalLoadBalancing(there, strategy, cp, dim, stripe), x)).toBeUndefined();
    }
  });
});

test("one device keeps the order", () => {
  const x = normals([2, 6]);
  expect(findBitDifference(reorderCausalLoadBalancing(x, DualChunkSwap, 1, 1), x)).toBeUndefined();
});

test("the gradient is put back in order", () => {
  const weight = arange(8).astype("float32");
  const slope = grad((x: Tensor) => reorderCausalLoadBalancing(x, DualChunkSwap, 2, 0).mul(weight).sum())(normals([8]));
  expect(numbers(slope)).toEqual([0, 1, 4, 5, 6, 7, 2, 3]);
});

test("what is split is reordered too", () => {
  const mesh = new Mesh({ context: 4 });
  withMesh(mesh, () => {
    const x = devicePut(arange(16), new NamedSharding(mesh, new PartitionSpec("context")));
    const y = reorderCausalLoadBalancing(x, DualChunkSwap, 4, 0);
    expect(numbers(inverseReorderCausalLoadBalancing(y, DualChunkSwap, 4, 0))).toEqual(numbers(arange(16)));
  });
});

test("what is refused", () => {
  const x = normals([2, 24]);
  const of =
    (...args: [ReorderStrategy, number, number, (number | null)?]) =>
    () =>
      reorderCausalLoadBalancing(x, ...args);
  expectError("option", /cpSize must be even for DualChunkSwap, got 3. Use Striped/, of(DualChunkSwap, 3, 1));
  expectError("option", /DualChunkSwap has no stripeSize, got 2/, of(DualChunkSwap, 2, 1, 2));
  expectError("shape", /dimension 1 of x must be a multiple of 16, got float32\[2,24\]/, of(DualChunkSwap, 8, 1));
  expectError("option", /stripeSize must be an integer of at least 1, or null, got 0/, of(Striped, 2, 1, 0));
  expectError("shape", /dimension 1 of x must be a multiple of 10/, of(Striped, 2, 1, 5));
  expectError("option", /seqDim must be one of 2 dimensions, got 2/, of(Striped, 2, 2));
  expectError("option", /cpSize must be an integer of at least 1, got 0/, of(Striped, 0, 1));
  expectError(
    "option",
    /strategy must be ReorderStrategy.DualChunkSwap or ReorderStrategy.Striped, got "zigzag"/,
    of("zigzag" as never, 2, 1),
  );
});
