/** Indexing, slices and what puts tensors together: ranges, negative indices, and gradients that go back. */
import { describe, expect, test } from "vitest";
import { arange, concat, flip, grad, pad, repeat, split, stack, type Tensor, tensor, tril, triu } from "../index.js";

const grid = arange(12).reshape([3, 4]);

describe("at", () => {
  test("numbers pick, ranges cut, null inserts", async () => {
    expect(await grid.at(1, 2).item()).toBe(6);
    expect(await grid.at(-1).toArray()).toEqual([8, 9, 10, 11]);
    expect(await grid.at(":", [1, -1]).toArray()).toEqual([
      [1, 2],
      [5, 6],
      [9, 10],
    ]);
    expect(await grid.at("...", 0).toArray()).toEqual([0, 4, 8]);
    expect(await grid.at(0, [0, 4, 2]).toArray()).toEqual([0, 2]);
    expect(await grid.at([2]).toArray()).toEqual([[8, 9, 10, 11]]);
    expect(grid.at(null, "...", null).shape).toEqual([1, 3, 4, 1]);
  });
  test("ranges are cut to the axis", () => {
    expect(grid.at([1, 99]).shape).toEqual([2, 4]);
    expect(grid.at([3, 1]).shape).toEqual([0, 4]);
  });
  test("numbers out of range and surplus entries are errors", () => {
    expect(() => grid.at(3)).toThrow(/at: the index of axis 0 must be an integer in \[-3, 3\), got 3/);
    expect(() => grid.at(0, 0, 0)).toThrow(/there are 2 axes to index, got 3 entries/);
    expect(() => grid.at("...", "...")).toThrow(/one "..." may stand/);
    expect(() => grid.at([0, 2, -1])).toThrow(/step of at least 1.*Use flip/);
  });
});

describe("slice", () => {
  test("counts negative numbers from the end", async () => {
    expect(await grid.slice([1, -2]).toArray()).toEqual([
      [6, 7],
      [10, 11],
    ]);
    expect(await grid.slice([0, 0], [-1, 4], [2, 3]).toArray()).toEqual([[0, 3]]);
  });
  test("out of range is an error", () => {
    expect(() => grid.slice([0], [4])).toThrow(/slice: axis 0 needs 0 ≤ start ≤ limit ≤ 3/);
  });
  test("the gradient of a strided slice goes back where it came from", async () => {
    const f = (x: Tensor) =>
      x
        .slice([1], [6], [2])
        .mul(tensor([1, 2, 3]))
        .sum();
    expect(await (grad(f)(tensor([0, 0, 0, 0, 0, 0, 0])) as Tensor).toArray()).toEqual([0, 1, 0, 2, 0, 3, 0]);
  });
});

describe("pad, concat and their kin", () => {
  test("pad", async () => {
    expect(await pad(tensor([1, 2]), [1], [2], 9).toArray()).toEqual([9, 1, 2, 9, 9]);
    expect(() => pad(grid, [1], [0])).toThrow(/pad: low and high must hold 2 non-negative integers/);
    expect(() => pad(grid, [-1, 0], [0, 0])).toThrow(/non-negative/);
  });
  test("concat promotes and names the tensor that does not fit", async () => {
    const mixed = concat([tensor([1.5]), tensor(Int32Array.of(2))]);
    expect(await mixed.toArray()).toEqual([1.5, 2]);
    expect(() => concat([grid, grid.at(":", [0, 2])], 0)).toThrow(
      /every tensor must match \[3,4\] except in axis 0, got int32\[3,2\]/,
    );
    expect(() => concat([])).toThrow(/at least one tensor/);
  });
  test("stack and split undo each other", async () => {
    const parts = split(grid, 2, 1);
    expect(parts.map((p) => p.shape)).toEqual([
      [3, 2],
      [3, 2],
    ]);
    expect(await concat(parts, 1).toArray()).toEqual(await grid.toArray());
    expect(stack(parts, -1).shape).toEqual([3, 2, 2]);
    expect(split(grid, [1, 3], 1).map((p) => p.shape[1])).toEqual([1, 2, 1]);
    expect(() => split(grid, 3, 1)).toThrow(/parts must divide the 4 elements of axis 1, got 3/);
  });
  test("flip, repeat, tril and triu", async () => {
    expect(await flip(tensor([1, 2, 3])).toArray()).toEqual([3, 2, 1]);
    expect(await repeat(tensor([1, 2]), 2, 0).toArray()).toEqual([1, 1, 2, 2]);
    const square = tensor([
      [1, 2],
      [3, 4],
    ]);
    expect(await tril(square).toArray()).toEqual([
      [1, 0],
      [3, 4],
    ]);
    expect(await triu(square, 1).toArray()).toEqual([
      [0, 2],
      [0, 0],
    ]);
  });
});
