/** Indexing by tensors, windows that start from tensors, and sorting: indices out of range, ties and NaN. */
import { describe, expect, test } from "vitest";
import {
  argsort,
  dynamicSlice,
  dynamicUpdateSlice,
  grad,
  oneHot,
  scatterAdd,
  sort,
  type Tensor,
  take,
  takeAlongAxis,
  tensor,
  topK,
  zeros,
} from "../index.js";

const table = tensor([
  [1, 2],
  [3, 4],
  [5, 6],
]);
const ints = (...values: number[]): Tensor => tensor(Int32Array.from(values));

describe("take", () => {
  test("replaces an axis by the axes of the indices", async () => {
    expect(await take(table, ints(2, 0)).toArray()).toEqual([
      [5, 6],
      [1, 2],
    ]);
    expect(await table.take(ints(1, 1, 0).reshape([3, 1]), { axis: -1 }).toArray()).toEqual([
      [[2], [2], [1]],
      [[4], [4], [3]],
      [[6], [6], [5]],
    ]);
    expect(take(table, tensor(Uint8Array.of(1))).shape).toEqual([1, 2]);
  });
  test("an index out of range is an error of the result", async () => {
    await expect(take(table, ints(0, 3)).data()).rejects.toThrow(
      /take: every index must be in \[0, 3\), got 3 at position 1/,
    );
    await expect(take(table, ints(-1)).data()).rejects.toMatchObject({ code: "index" });
  });
  test("indices must be integers", () =>
    expect(() => take(table, tensor([0]))).toThrow(/take: indices must be an integer tensor/));
  test("the gradient adds up what was taken twice", async () => {
    const f = (t: Tensor) => take(t, ints(1, 1, 0)).sum();
    expect(await (grad(f)(table) as Tensor).toArray()).toEqual([
      [1, 1],
      [2, 2],
      [0, 0],
    ]);
  });
  test("scatterAdd", async () => {
    expect(await scatterAdd(ints(2, 0, 2), tensor([1, 2, 4]), { size: 4 }).toArray()).toEqual([2, 0, 5, 0]);
    expect(() => scatterAdd(ints(0, 1), tensor([1]), { size: 2 })).toThrow(
      /updates must hold the axes of indices, \[2\]/,
    );
  });
  test("takeAlongAxis", async () => {
    expect(await takeAlongAxis(table, ints(1, 0, 1).reshape([3, 1]), 1).toArray()).toEqual([[2], [3], [6]]);
    expect(() => takeAlongAxis(table, ints(0), 0)).toThrow(
      /indices must have the shape of x, \[3,2\], except in axis 0/,
    );
  });
  test("oneHot gives zeros for what is no class", async () => {
    expect(await oneHot(ints(1, 5), 3).toArray()).toEqual([
      [0, 1, 0],
      [0, 0, 0],
    ]);
    // Classes past the range of the indices' dtype are none of theirs either.
    expect(
      await oneHot(tensor(new Uint8Array([1])), 300)
        .sum()
        .item(),
    ).toBe(1);
  });
});

describe("windows", () => {
  const row = tensor([0, 1, 2, 3, 4]);
  test("are moved inside", async () => {
    expect(await dynamicSlice(row, [4], [2]).toArray()).toEqual([3, 4]);
    expect(await dynamicSlice(row, [-7], [2]).toArray()).toEqual([0, 1]);
    expect(await dynamicUpdateSlice(row, tensor([9, 9]), ints(4)).toArray()).toEqual([0, 1, 2, 9, 9]);
  });
  test("start from tensors", async () => {
    expect(await dynamicSlice(table, [ints(1).reshape([]), 0], [1, 2]).toArray()).toEqual([[3, 4]]);
  });
  test("must fit", () =>
    expect(() => dynamicSlice(row, [0], [6])).toThrow(/dynamicSlice: the window must fit into \[5\], got \[6\]/));
});

describe("sort", () => {
  const { NaN: nan } = Number;
  test("is stable and puts NaN last in both directions", async () => {
    const x = tensor([2, nan, 1, 2, 0]);
    expect(await sort(x).toArray()).toEqual([0, 1, 2, 2, nan]);
    expect(await sort(x, 0, { descending: true }).toArray()).toEqual([2, 2, 1, 0, nan]);
    expect(await argsort(x, 0, { descending: true }).toArray()).toEqual([0, 3, 2, 4, 1]);
  });
  test("compares uint32 without sign", async () => {
    expect(await sort(tensor(Uint32Array.of(4294967295, 1))).toArray()).toEqual([1, 4294967295]);
  });
  test("topK", async () => {
    const { values, indices } = topK(tensor([[3, 1, 2]]), 2);
    expect(await values.toArray()).toEqual([[3, 2]]);
    expect(await indices.toArray()).toEqual([[0, 2]]);
    expect(() => topK(zeros([2]), 3)).toThrow(/k must be an integer in \[0, 2\], got 3/);
  });
});
