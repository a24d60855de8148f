/** Q01: rounding to FP8 against a search for the nearest code, and amax with NaN and infinity. */
import { type DType, type Tensor, tensor } from "@te/tensor";
import { decodeTable } from "@te/tensor/op";
import { expectError, normals } from "@te/testkit";
import { describe, expect, it } from "vitest";
import { dequantize, type Float8, quantizeOp, quantizeWith } from "../src/index.js";

const E4M3 = "float8_e4m3fn";
const E5M2 = "float8_e5m2";
const scalar = (value: number): Tensor => tensor([value]);
const quantize = (x: Tensor, scale = 1, dtype: Float8 = E4M3) => quantizeOp({ x, scale: scalar(scale) }, { dtype });
const valuesOf = async ({ q }: { q: Tensor }) => Array.from(await q.values());

/** The finite non-negative values of an FP8 type by code, from the definition of the format. */
function codeValues(dtype: Float8): number[] {
  const [mantissaBits, bias, last] = dtype === E4M3 ? [3, 7, 0x7e] : [2, 15, 0x7b];
  return Array.from({ length: last + 1 }, (_, code) => {
    const exponent = code >> mantissaBits;
    const mantissa = (code & ((1 << mantissaBits) - 1)) / (1 << mantissaBits);
    return exponent === 0 ? mantissa * 2 ** (1 - bias) : (1 + mantissa) * 2 ** (exponent - bias);
  });
}

/** The code of the nearest value after clipping, the even code of two that are equally near; found by search. */
function nearestCode(x: number, table: readonly number[]): number {
  if (Number.isNaN(x)) return Number.NaN;
  const sign = x < 0 || Object.is(x, -0) ? 0x80 : 0;
  const a = Math.min(Math.abs(x), table.at(-1)!);
  let [low, high] = [0, table.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (table[middle]! <= a) low = middle;
    else high = middle;
  }
  const [below, above] = [a - table[low]!, table[high]! - a];
  const up = above < below || (above === below && high % 2 === 0);
  return sign | (up ? high : low);
}

describe("quantize", () => {
  // value, nearest in e4m3, nearest in e5m2
  const vectors = [
    [0.1, 0.1015625, 0.09375],
    [0.3, 0.3125, 0.3125],
    [1 / 3, 0.34375, 0.3125],
    [1.05, 1, 1],
    [1.0625, 1, 1],
    [1.1875, 1.25, 1.25],
    [3.3, 3.25, 3.5],
    [17, 16, 16],
    [300, 288, 320],
    [304, 320, 320],
    [447, 448, 448],
    [460, 448, 448],
    [0.001, 0.001953125, 0.0009765625],
    [0.0009, 0, 0.0008544921875],
    [0.0029296875, 0.00390625, 0.0029296875],
    [-0.7, -0.6875, -0.75],
  ] as const;

  it("rounds to nearest, ties to even, and clips", async () => {
    const x = tensor(vectors.map(([value]) => value));
    expect(await valuesOf(quantize(x, 1, E4M3))).toEqual(vectors.map(([, e4m3]) => e4m3));
    expect(await valuesOf(quantize(x, 1, E5M2))).toEqual(vectors.map(([, , e5m2]) => e5m2));
  });

  it.each([E4M3, E5M2] as const)("Q01: every code of %s keeps its value", async (dtype) => {
    const codes = Uint8Array.from({ length: 256 }, (_, code) => code);
    const table = codeValues(dtype);
    const values = await tensor(codes, { dtype }).values();
    values.forEach((value, code) => {
      const magnitude = table[code & 0x7f];
      const nan = dtype === E4M3 ? (code & 0x7f) === 0x7f : (code & 0x7f) > 0x7c;
      if (nan) expect(value, `code ${code}`).toBeNaN();
      else expect(value, `code ${code}`).toBe((code & 0x80 ? -1 : 1) * (magnitude ?? Number.POSITIVE_INFINITY));
    });
    const again = await quantize(tensor(Float32Array.from(values)), 1, dtype).q.data();
    again.forEach((code, i) => {
      if (Number.isNaN(values[i]!)) expect(decodeTable(dtype)[code]).toBeNaN();
      // Quantizing clips infinity to the largest finite value.
      else expect(code, `code ${i}`).toBe(Number.isFinite(values[i]!) ? i : (i & 0x80) | (table.length - 1));
    });
  });

  it.each([E4M3, E5M2] as const)("Q01: every bfloat16 becomes the nearest %s", async (dtype) => {
    const x = tensor(
      Uint16Array.from({ length: 65536 }, (_, code) => code),
      { dtype: "bfloat16" },
    );
    const table = codeValues(dtype);
    const bits = new Uint32Array(1);
    const asFloat = new Float32Array(bits.buffer);
    const codes = await quantize(x, 1, dtype).q.data();
    let wrong = 0;
    codes.forEach((code, i) => {
      bits[0] = i << 16;
      const expected = nearestCode(asFloat[0]!, table);
      if (Number.isNaN(expected) ? !Number.isNaN(decodeTable(dtype)[code]!) : code !== expected) wrong++;
    });
    expect(wrong).toBe(0);
    expect(codes[0x8000]).toBe(0x80);
  });

  it.each(["float32", "bfloat16", "float16"] as const)(
    "multiplies %s by the scale in float32 and rounds once",
    async (dtype) => {
      const scale = Math.fround(37.3);
      const x = normals([4096], { seed: 1, std: 5, dtype });
      const table = codeValues(E4M3);
      const { q, amax } = quantize(x, scale);
      const expected = Array.from(await x.values(), (v) => nearestCode(Math.fround(v * scale), table));
      expect(Array.from(await q.data())).toEqual(expected);
      expect(await amax.item()).toBe(Math.max(...(await x.values()).map(Math.abs)));
      expect([amax.shape, amax.dtype]).toEqual([[1], "float32"]);
    },
  );

  it("lets NaN and infinity through to amax", async () => {
    const odd = quantize(tensor([1, Number.NaN, -3]));
    expect(await odd.amax.item()).toBeNaN();
    expect(await valuesOf(odd)).toEqual([1, Number.NaN, -3]);
    const large = quantize(tensor([1, Number.NEGATIVE_INFINITY]), 2, E5M2);
    expect(await large.amax.item()).toBe(Number.POSITIVE_INFINITY);
    expect(await valuesOf(large)).toEqual([2, -57344]);
  });

  it("takes tensors without elements and without axes", async () => {
    const empty = quantize(tensor([], { shape: [0, 4] }));
    expect(empty.q.shape).toEqual([0, 4]);
    expect(await empty.amax.item()).toBe(0);
    expect(quantize(tensor(3)).q.shape).toEqual([]);
  });

  it("undoes itself with scaleInv up to one rounding", async () => {
    const state = { scale: scalar(100), amaxHistory: scalar(0) };
    const x = [0.5, -1.7, 4.25, 0.001];
    const back = await dequantize(quantizeWith(state, tensor(x), E4M3)).values();
    back.forEach((value, i) => {
      expect(Math.abs(value - x[i]!)).toBeLessThanOrEqual(2 ** -4 * Math.abs(x[i]!));
    });
  });

  it.each([
    [120, 2080],
    [8, 8],
    [1, 3221],
    [2333, 1],
    [148, 677],
  ])("T01: a transposed copy of [%i, %i] has the same bytes", async (rows, columns) => {
    for (const dtype of ["float32", "bfloat16", "float16"] as DType[]) {
      const x = normals([rows, columns], { seed: rows, dtype });
      const { q, amax } = quantize(x, 50);
      const row = await q.data();
      const column = new Uint8Array(row.length);
      for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) column[j * rows + i] = row[i * columns + j]!;
      expect(Buffer.compare((await q.T.data()) as Uint8Array, column)).toBe(0);
      expect(Buffer.compare((await quantize(x.T, 50).q.data()) as Uint8Array, column)).toBe(0);
      expect(await amax.item()).toBe((await x.values()).reduce((most, v) => Math.max(most, Math.abs(v)), 0));
    }
  });

  it("rejects other dtypes and scales", () => {
    expectError("dtype", /quantize: x must be float32 or bfloat16 or float16, got int32\[2\]/, () =>
      quantize(tensor([1, 2], { dtype: "int32" })),
    );
    expectError("dtype", /x must be float32/, () => quantize(quantize(tensor([1])).q));
    expectError("dtype", /params.dtype must be float8_e4m3fn or float8_e5m2, got float8_e8m0fnu/, () =>
      quantize(tensor([1]), 1, "float8_e8m0fnu" as never),
    );
    const x = tensor([1]);
    expectError("shape", /scale must have shape \[1\]/, () => quantizeOp({ x, scale: tensor([1, 2]) }));
    expectError("dtype", /scale must be float32/, () => quantizeOp({ x, scale: tensor([1], { dtype: "bfloat16" }) }));
  });
});
