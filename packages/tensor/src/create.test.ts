/** Tensors that are made rather than given: filled with one value, ranges and identity matrices. */
import { describe, expect, test } from "vitest";
import { arange, eye, full, iota, ones, tensor, zeros, zerosLike } from "./index.js";

describe("full, zeros, ones", () => {
  test("make float32 by default, bool from a boolean", async () => {
    expect(zeros([2]).dtype).toBe("float32");
    expect(await ones([2], { dtype: "int32" }).toArray()).toEqual([1, 1]);
    expect(await full([], true).toArray()).toBe(true);
    expect(zerosLike(tensor([1]).astype("bfloat16")).dtype).toBe("bfloat16");
  });
  test("refuse a value or a shape that cannot be", () => {
    expect(() => full([2], 0.5, { dtype: "int32" })).toThrow(/full: value must be an integer in .* for int32, got 0.5/);
    expect(() => zeros([-1])).toThrow(/every dimension must be a non-negative integer, got \[-1\]/);
    expect(() => zeros([2 ** 30, 2 ** 30])).toThrow(/at most 2\^48 elements/);
    // 4 TB fit into no machine, whatever it is that notices.
    expect(() =>
      zeros([2 ** 40])
        .add(1)
        .dataSync(),
    ).toThrow(expect.objectContaining({ code: "memory" }));
    expect(() => zeros([1], { dtype: "float33" as never })).toThrow(/dtype must be one of/);
  });
});

describe("ranges", () => {
  test("arange", async () => {
    expect(await arange(3).toArray()).toEqual([0, 1, 2]);
    expect(await arange(5, 1, -2).toArray()).toEqual([5, 3]);
    expect(await arange(0, 1, 0.25).toArray()).toEqual([0, 0.25, 0.5, 0.75]);
    expect(arange(0, 1, 0.25).dtype).toBe("float32");
    expect(await arange(2, 5, 1, { dtype: "uint8" }).toArray()).toEqual([2, 3, 4]);
    expect(arange(3, 3).shape).toEqual([0]);
    expect(() => arange(0, 1, 0)).toThrow(/step not 0/);
  });
  test("iota and eye", async () => {
    expect(await iota([2, 2], -1).toArray()).toEqual([
      [0, 1],
      [0, 1],
    ]);
    expect(await eye(2, 3).toArray()).toEqual([
      [1, 0, 0],
      [0, 1, 0],
    ]);
  });
});
