/** Reductions: their axes, their results over nothing and with NaN, and their gradients at ties and zeros. */
import { describe, expect, test } from "vitest";
import { grad, type Tensor, tensor, zeros } from "../index.js";

const { NaN: nan, POSITIVE_INFINITY: inf, NEGATIVE_INFINITY: minusInf } = Number;
const x = tensor([
  [1, 2, 3],
  [4, 5, 6],
]);

describe("axes", () => {
  test("all by default, negative ones from the end, lists in any order", async () => {
    expect(await x.sum().item()).toBe(21);
    expect(await x.sum(-1).toArray()).toEqual([6, 15]);
    expect(await x.sum([1, 0]).item()).toBe(21);
    expect(await x.sum([]).toArray()).toEqual(await x.toArray());
    expect(x.mean(0, { keepDims: true }).shape).toEqual([1, 3]);
  });
  test("that do not exist or repeat are errors", () => {
    expect(() => x.sum(2)).toThrow(/sum: axis must be an integer in \[-2, 2\), got 2/);
    expect(() => x.max([0, -2])).toThrow(/max: axes must be distinct/);
  });
});

describe("over nothing", () => {
  const none = zeros([2, 0]);
  test("sum 0, prod 1, max -∞, min ∞", async () => {
    expect(await none.sum(1).toArray()).toEqual([0, 0]);
    expect(await none.prod(1).toArray()).toEqual([1, 1]);
    expect(await none.max(1).toArray()).toEqual([minusInf, minusInf]);
    expect(await none.min(1).toArray()).toEqual([inf, inf]);
  });
  test("integers have their own extremes", async () => {
    expect(await none.astype("int32").max(1).toArray()).toEqual([-2147483648, -2147483648]);
    expect(await none.astype("uint8").min(1).toArray()).toEqual([255, 255]);
  });
  test("all is true, any is false", async () => {
    expect(await none.all().toArray()).toBe(true);
    expect(await none.any().toArray()).toBe(false);
  });
  test("argmax is an error", () =>
    expect(() => none.argmax(1)).toThrow(/argmax: axis 1 must hold at least one element/));
});

describe("numbers", () => {
  test("max and min keep NaN", async () => {
    const y = tensor([1, nan, 3]);
    expect(await y.max().item()).toBeNaN();
    expect(await y.min().item()).toBeNaN();
  });
  test("argmax takes the first NaN, then the first of equals", async () => {
    expect(await tensor([1, nan, 5, nan]).argmax().item()).toBe(1);
    expect(await tensor([1, 5, 5]).argmax(0).item()).toBe(1);
    expect(await x.argmin(0, { keepDims: true }).toArray()).toEqual([[0, 0, 0]]);
  });
  test("bool is counted", async () => {
    const some = tensor([true, false, true]);
    expect(some.sum().dtype).toBe("int32");
    expect(await some.sum().item()).toBe(2);
    expect(await some.mean().item()).toBeCloseTo(2 / 3);
  });
  test("integer sums wrap around", async () => {
    expect(await tensor(Int32Array.of(2147483647, 1)).sum().item()).toBe(-2147483648);
  });
  test("a bfloat16 sum is rounded once", async () => {
    const ones = tensor(new Float32Array(1000).fill(1)).astype("bfloat16");
    expect(await ones.sum().item()).toBe(1000);
    expect(ones.mean().dtype).toBe("bfloat16");
  });
  test("variance", async () => {
    expect(await x.variance(1).toArray()).toEqual([2 / 3, 2 / 3].map(Math.fround));
    expect(await x.variance(1, { correction: 1 }).toArray()).toEqual([1, 1]);
  });
  test("cumsum in both directions, with and without the element itself", async () => {
    const v = tensor([1, 2, 3]);
    expect(await v.cumsum(0).toArray()).toEqual([1, 3, 6]);
    expect(await v.cumsum(0, { reverse: true }).toArray()).toEqual([6, 5, 3]);
    expect(await v.cumsum(0, { exclusive: true }).toArray()).toEqual([0, 1, 3]);
    expect(await v.cumsum(0, { exclusive: true, reverse: true }).toArray()).toEqual([5, 3, 0]);
  });
});

describe("gradients", () => {
  const of = (f: (v: Tensor) => Tensor, ...v: number[]) => (grad(f)(tensor(v)) as Tensor).toArray();
  test("equal extremes share", async () => expect(await of((v) => v.max(), 3, 1, 3)).toEqual([0.5, 0, 0.5]));
  test("a product with one zero, and with two", async () => {
    expect(await of((v) => v.prod(), 2, 0, 5)).toEqual([0, 10, 0]);
    expect(await of((v) => v.prod(), 0, 0, 5)).toEqual([0, 0, 0]);
  });
});
