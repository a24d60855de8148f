/** Indices on the GPU: long and narrow rows, sums whose bits do not depend on the schedule, and the refusals of all devices. */
import "./emulated.js";
import "@te/kernels-cuda";
import { type DType, scatterAdd, setDevice, type Tensor, take, takeAlongAxis, tensor } from "@te/tensor";
import { afterAll, describe, expect, test } from "vitest";
import "../../kernels-cpu/test/empty.test.js";
import "../../tensor/test/donation-errors.test.js";
import "../../tensor/test/index-errors.test.js";
import { expectSameBits, integers, numbers } from "./against-reference.js";

afterAll(() => setDevice("auto"));
const DTYPES: readonly DType[] = ["uint8", "bfloat16", "float32"];

describe("take", () => {
  test.each([1, 3, 8, 64, 129])("rows of %i", async (width) => {
    for (const dtype of DTYPES)
      await expectSameBits(() => [
        take(numbers([50, width], dtype), integers([70], 50)),
        take(numbers([3, 20, width], dtype), integers([5, 7], 20), { axis: 1 }),
      ]);
  });
  test("one of each row", async () => {
    for (const dtype of DTYPES)
      await expectSameBits(() => [
        takeAlongAxis(numbers([60, 33], dtype), integers([60, 1], 33), 1),
        takeAlongAxis(numbers([4, 33, 5], dtype), integers([4, 70, 5], 33), 1),
      ]);
  });
});

describe("scatterAdd", () => {
  /** Half of the updates go to one row. */
  const crowded = (n: number, rows: number): Tensor => {
    const spread = integers([n], rows);
    return spread.mul(integers([n], 2, "half"));
  };
  test.each<[n: number, rows: number, width: number]>([
    [1, 5, 8],
    [300, 7, 3],
    [700, 900, 16],
    [6000, 40, 1],
    [5000, 70000, 2],
    [0, 6, 9],
  ])("%i updates of %i rows of %i", async (n, rows, width) => {
    for (const dtype of ["uint8", "int32", "bfloat16", "float16", "float32"] as const)
      await expectSameBits(() => [
        scatterAdd(crowded(n, rows), numbers([n, width], dtype), { size: rows }),
        scatterAdd(crowded(n, rows), numbers([2, n, width], dtype), { axis: 1, size: rows }),
      ]);
  });
  test("adds to zeros in double, and rounds once", async () => {
    await expectSameBits(() => [
      scatterAdd(tensor([0, 1, 0, 0, 2, 2], { dtype: "int32" }), tensor([1e8, -0, 1, -1e8, -0, -0]), { size: 4 }),
      scatterAdd(crowded(3000, 5), numbers([3000, 2]).sub(7.3).mul(1e-3), { size: 5 }),
    ]);
  });
  test("an index out of range leaves the runs behind it alone", async () => {
    setDevice("cuda");
    const add = (at: number) => scatterAdd(tensor([0, at], { dtype: "int32" }), tensor([1, 2]), { size: 3 });
    const [bad, good] = [add(3), add(2)];
    await expect(bad.add(1).data()).rejects.toMatchObject({ code: "index", message: /got 3 at position 1/ });
    expect(await good.toArray()).toEqual([1, 0, 2]);
  });
});
