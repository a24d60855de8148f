/** Values that are indices: one outside of its range is an error of code "index", worded alike on every device, where a result is read. */
import "@te/kernels-cpu";
import { grad, jit, scatterAdd, type Tensor, take, takeAlongAxis, tensor, zeros } from "@te/tensor";
import { checkRange } from "@te/tensor/op";
import { expectError, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";

const ints = (...values: number[]): Tensor => tensor(Int32Array.from(values));
const check = { fn: "fill", what: "every level", low: -1, high: 4, wayOut: "Empty it first." };
const CLIP = "Clip the indices or mask them out first.";

onEachDevice(() => {
  test.each<[string, () => Tensor, string]>([
    [
      "take",
      () => take(zeros([3, 2]), ints(0, 3)),
      `take: every index must be in [0, 3), got 3 at position 1. ${CLIP}`,
    ],
    [
      "take below 0",
      () => take(zeros([3]), ints(-1)),
      `take: every index must be in [0, 3), got -1 at position 0. ${CLIP}`,
    ],
    [
      "takeAlongAxis",
      () => takeAlongAxis(zeros([2, 3]), ints(0, 5).reshape([2, 1]), 1),
      `takeAlongAxis: every index must be in [0, 3), got 5 at position 1. ${CLIP}`,
    ],
    [
      "scatterAdd",
      () => scatterAdd(ints(7), zeros([1, 2]), { size: 4 }),
      `scatterAdd: every index must be in [0, 4), got 7 at position 0. ${CLIP}`,
    ],
    [
      "checkRange above",
      () => checkRange(ints(4, 5, -2), check),
      "fill: every level must be in [-1, 4], got 5 at position 1. Empty it first.",
    ],
    [
      "checkRange below",
      () => checkRange(ints(4, -2), check),
      "fill: every level must be in [-1, 4], got -2 at position 1. Empty it first.",
    ],
    [
      "checkRange of a number, without a way out",
      () => checkRange(ints(9).reshape([]), { ...check, wayOut: "" }),
      "fill: every level must be in [-1, 4], got 9.",
    ],
  ])("%s", async (_, make, message) => {
    await expect(make().data()).rejects.toMatchObject({ code: "index", message });
  });

  test("checkRange passes the rest on, in place or not, and has no slope", async () => {
    const x = ints(-1, 4, 0);
    expect(await checkRange(x, check).data()).toEqual(await x.data());
    const f = jit((x: Tensor) => [checkRange(x.add(1), { ...check, high: 5 }), x.sub(1)]);
    expect(await Promise.all(f(x).map((y: Tensor) => y.toArray()))).toEqual([
      [0, 5, 1],
      [-2, 3, -1],
    ]);
    const g = grad((w: Tensor) => w.mul(checkRange(x, check).astype("float32")).sum())(tensor([1, 2, 3])) as Tensor;
    expect(await g.toArray()).toEqual([-1, 4, 0]);
  });

  test("what nobody uses is not checked, and one failed run leaves the next alone", async () => {
    const f = jit((x: Tensor) => {
      checkRange(x, check);
      return x.add(1);
    });
    expect(await f(ints(99)).toArray()).toEqual([100]);
    const g = jit((x: Tensor) => checkRange(x, check).add(1));
    await expect(g(ints(99)).data()).rejects.toThrow(/got 99/);
    expect(await g(ints(3)).toArray()).toEqual([4]);
  });
});

describe("checkRange refuses", () => {
  test("what is not int32, and bounds that are not integers", () => {
    expectError("dtype", /^checkRange: x must be int32, got float32/, () => checkRange(tensor([1]), check));
    expectError("option", /^checkRange: low and high must be integers/, () =>
      checkRange(ints(1), { ...check, high: 0.5 }),
    );
  });
});
