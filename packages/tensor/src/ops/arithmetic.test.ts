/** Arithmetic at its corners: dtypes of results, integers that wrap around, NaN, and gradients at kinks. */
import { describe, expect, test } from "vitest";
import { grad, type Tensor, tensor } from "../index.js";

const int = (...values: number[]): Tensor => tensor(Int32Array.from(values));
const uint = (...values: number[]): Tensor => tensor(Uint32Array.from(values));
const byte = (...values: number[]): Tensor => tensor(Uint8Array.from(values));

describe("dtypes of results", () => {
  const of = (dtype: Tensor["dtype"]): Tensor => tensor([1, 2]).astype(dtype);
  test.each([
    ["bfloat16", "float32", "float32"],
    ["bfloat16", "float16", "float32"],
    ["int32", "bfloat16", "bfloat16"],
    ["bool", "int32", "int32"],
    ["uint8", "int32", "int32"],
    ["uint32", "int32", "int32"],
  ] as const)("%s and %s give %s", (a, b, want) => {
    expect(of(a).add(of(b).astype(b)).dtype).toBe(want);
    expect(of(b).mul(of(a)).dtype).toBe(want);
  });
  test("a number takes the dtype of the tensor", () => {
    expect(of("bfloat16").mul(0.1).dtype).toBe("bfloat16");
    expect(of("int32").add(1).dtype).toBe("int32");
  });
  test("a number beside bool counts", async () => {
    const x = tensor([true, false]);
    expect(await x.maximum(2).toArray()).toEqual([2, 2]);
    expect(x.maximum(2).dtype).toBe("int32");
    expect(x.maximum(0.5).dtype).toBe("float32");
  });
  test("a number that the dtype cannot hold is an error", () => {
    expect(() => of("int32").mul(0.5)).toThrow(
      /mul: a number beside a tensor must be an integer .* for int32, got 0.5/,
    );
    expect(() => of("uint8").add(300)).toThrow(/in \[0, 255\] for uint8, got 300/);
    expect(() => of("uint32").sub(-1)).toThrow(/in \[0, 4294967295\] for uint32, got -1/);
  });
  test("float8 does not mix", () => {
    expect(() => of("float8_e4m3fn").add(of("float32"))).toThrow(/float8 types do not mix/);
  });
  test("something else than a tensor or a number is an error", () => {
    expect(() => tensor([1]).add("1" as never)).toThrow(/add: operands must be tensors or numbers, got "1"/);
  });
});

describe("integers", () => {
  test("wrap around", async () => {
    expect(await int(2147483647).add(1).toArray()).toEqual([-2147483648]);
    expect(await int(65537).mul(65537).toArray()).toEqual([131073]);
    expect(await uint(0).sub(1).toArray()).toEqual([4294967295]);
    expect(await byte(200).add(100).toArray()).toEqual([44]);
    expect(await int(-2147483648).neg().toArray()).toEqual([-2147483648]);
  });
  test("divide toward zero, with XLA's answers where there is none", async () => {
    expect(
      await int(7, -7, 5, -2147483648)
        .div(int(2, 2, 0, -1))
        .toArray(),
    ).toEqual([3, -3, -1, -2147483648]);
    expect(await uint(7).div(0).toArray()).toEqual([4294967295]);
    expect(
      await int(7, -7, 5, -2147483648)
        .rem(int(2, 2, 0, -1))
        .toArray(),
    ).toEqual([1, -1, 5, 0]);
  });
  test("powers", async () => {
    expect(
      await int(3, -2, 2, -1, 7)
        .pow(int(4, 3, -1, -3, 0))
        .toArray(),
    ).toEqual([81, -8, 0, -1, 1]);
    expect(await int(3).pow(40).toArray()).toEqual([Number(BigInt.asIntN(32, 3n ** 40n))]);
  });
  test("shifts by the width or more", async () => {
    const { shiftLeft, shiftRight } = await import("../index.js");
    expect(await shiftLeft(int(1, 1, 1), int(31, 32, -1)).toArray()).toEqual([-2147483648, 0, 0]);
    expect(await shiftRight(int(-8, -8, 8), int(1, 40, 40)).toArray()).toEqual([-4, -1, 0]);
    expect(await shiftRight(uint(4294967295), 31).toArray()).toEqual([1]);
    expect(await shiftRight(byte(255), 8).toArray()).toEqual([0]);
    expect(() => shiftLeft(tensor([1]), 1)).toThrow(/shift_left: operands must be integers or bool, got float32/);
  });
});

describe("floats", () => {
  const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
  test("maximum, minimum and sign keep NaN", async () => {
    const x = tensor([nan, 1, nan]);
    expect(await x.maximum(tensor([1, nan, 2])).toArray()).toEqual([nan, nan, nan]);
    expect(await x.minimum(0).toArray()).toEqual([nan, 0, nan]);
    expect(await x.sign().toArray()).toEqual([nan, 1, nan]);
    expect(await x.clip(-0.5, 0.5).toArray()).toEqual([nan, 0.5, nan]);
  });
  test("pow has C's special cases", async () => {
    expect(
      await tensor([1, -1, -1])
        .pow(tensor([nan, inf, -inf]))
        .toArray(),
    ).toEqual([1, 1, 1]);
  });
  test("round takes halves to the even neighbour", async () => {
    expect(await tensor([0.5, 1.5, 2.5, -0.5, -1.5, 2.4]).round().toArray()).toEqual([0, 2, 2, -0, -2, 2]);
  });
  test("rem has the sign of the dividend", async () => {
    expect(await tensor([5.5, -5.5]).rem(2).toArray()).toEqual([1.5, -1.5]);
  });
});

describe("gradients at corners", () => {
  const at = async (f: (x: Tensor) => Tensor, x: number): Promise<number> =>
    (grad((v: Tensor) => f(v).sum())(tensor([x])) as Tensor).item();
  test("|x| at 0 has slope 0", async () => expect(await at((x) => x.abs(), 0)).toBe(0));
  test("equal operands of maximum share", async () => expect(await at((x) => x.maximum(2), 2)).toBe(0.5));
  test("equal operands of minimum share", async () => expect(await at((x) => x.minimum(x.mul(1)), 2)).toBe(1));
  test("x^0 at 0 has slope 0", async () => expect(await at((x) => x.pow(tensor([0])), 0)).toBe(0));
  test("x² and x³ at 0", async () => expect(await at((x) => x.pow(2).add(x.pow(3)), 0)).toBe(0));
  test("a^x at a = 0 has slope 0", async () => expect(await at((x) => tensor([0]).pow(x), 2)).toBe(0));
  test("where sends nothing to the side that is not taken", async () =>
    expect(await at((x) => x.gt(0).where(x.log(), 0), 4)).toBe(0.25));
});

test("shapes that do not broadcast are an error that names both", () => {
  expect(() => tensor([1, 2, 3]).add(tensor([1, 2]))).toThrow(/add: shapes \[3\] and \[2\] do not broadcast/);
});
