/** Q01: casts between all float types against recorded tables, code by code, and casts to integers and bool. */
import { type DType, type Tensor, type TypedArray, tensor } from "@te/tensor";
import { fromFloat64, toFloat64 } from "@te/tensor/op";
import { readGolden } from "@te/testkit";
import { describe, expect, test } from "vitest";

const golden = readGolden("fp_casts");
const of = golden.cases[0]!;
const runs = of.runs as Record<string, number[]>;

const NAMES: Record<string, DType> = {
  bf16: "bfloat16",
  f16: "float16",
  e4m3fn: "float8_e4m3fn",
  e5m2: "float8_e5m2",
  e8m0fnu: "float8_e8m0fnu",
};

/** Every code of a 16-bit type. */
const allCodes = (dtype: DType): Tensor =>
  tensor(
    Uint16Array.from({ length: 65536 }, (_, i) => i),
    { dtype },
  );
const allBytes = (dtype: DType): Tensor =>
  tensor(
    Uint8Array.from({ length: 256 }, (_, i) => i),
    { dtype },
  );

/** A table stored as [first input, code, first input, code, …]. */
function unpack(pairs: readonly number[], length: number): Uint8Array {
  const table = new Uint8Array(length);
  for (let i = 0; i < pairs.length; i += 2) table.fill(pairs[i + 1]!, pairs[i]!);
  return table;
}

/** The first place where codes differ; NaN has many codes, and its sign is not kept. */
function findDifference(dtype: DType, actual: TypedArray, expected: TypedArray): string | undefined {
  const [a, e] = [toFloat64(dtype, actual), toFloat64(dtype, expected)];
  for (let i = 0; i < e.length; i++) {
    if (actual[i] !== expected[i] && !(Number.isNaN(a[i]!) && Number.isNaN(e[i]!))) {
      return `input ${i}: expected code ${expected[i]} (${e[i]}), got ${actual[i]} (${a[i]})`;
    }
  }
  return actual.length === expected.length ? undefined : `expected ${expected.length} codes, got ${actual.length}`;
}

describe("Q01 cast-table: 16-bit codes to 8-bit types", () => {
  for (const [name, pairs] of Object.entries(runs)) {
    const [from, to, mode] = name.split("/") as [string, string, string];
    test(name, async () => {
      const y = allCodes(NAMES[from]!).astype(NAMES[to]!, { saturate: mode !== "plain" });
      expect(findDifference(NAMES[to]!, await y.data(), unpack(pairs, 65536))).toBeUndefined();
    });
  }
});

describe("Q01 cast-table: float32 to narrow types", () => {
  const x = golden.tensor(of, "f32/input");
  for (const name of of.tensors.filter((n) => n.startsWith("f32/") && n !== "f32/input")) {
    const [, to, mode = "plain"] = name.split("/") as [string, string, string?];
    test(name, async () => {
      const y = x.astype(NAMES[to]!, { saturate: mode !== "plain" });
      expect(findDifference(NAMES[to]!, await y.data(), await golden.tensor(of, name).data())).toBeUndefined();
    });
  }
});

describe("Q01 cast-table: decoding and back", () => {
  for (const name of ["e4m3fn", "e5m2", "e8m0fnu"]) {
    test(`every code of ${name} to float32`, async () => {
      const values = await allBytes(NAMES[name]!).astype("float32").data();
      const expected = await golden.tensor(of, `decode/${name}`).data();
      expect([...values].findIndex((v, i) => !Object.is(v, expected[i]))).toBe(-1);
    });
  }
  for (const dtype of ["float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "bfloat16", "float16"] as const) {
    test(`every code of ${dtype} survives float32`, async () => {
      const codes = dtype.startsWith("float8") ? allBytes(dtype) : allCodes(dtype);
      const back = codes.astype("float32").astype(dtype);
      expect(findDifference(dtype, await back.data(), await codes.data())).toBeUndefined();
    });
  }
  test("known values", async () => {
    const e4m3 = (x: number, saturate = false) => tensor([x]).astype("float8_e4m3fn", { saturate }).data();
    const e5m2 = (x: number, saturate = false) => tensor([x]).astype("float8_e5m2", { saturate }).data();
    expect(await e4m3(448)).toEqual(Uint8Array.of(0x7e));
    expect(await e4m3(465)).toEqual(Uint8Array.of(0x7f)); // beyond the last rounding boundary: NaN
    expect(await e4m3(1e6, true)).toEqual(Uint8Array.of(0x7e));
    expect(await e4m3(2 ** -9)).toEqual(Uint8Array.of(1));
    expect(await e4m3(-0)).toEqual(Uint8Array.of(0x80));
    expect(await e5m2(57344)).toEqual(Uint8Array.of(0x7b));
    expect(await e5m2(65536)).toEqual(Uint8Array.of(0x7c)); // infinity
    expect(await e5m2(Number.NEGATIVE_INFINITY, true)).toEqual(Uint8Array.of(0xfb));
    expect(await e5m2(2 ** -16)).toEqual(Uint8Array.of(1));
  });
});

test("a float64 rounds to bfloat16 once", () => {
  const justAboveHalf = 1 + 2 ** -8 + 2 ** -40; // float32 would round it to the tie first
  expect(fromFloat64("bfloat16", [justAboveHalf, 1 + 2 ** -8])).toEqual(Uint16Array.of(0x3f81, 0x3f80));
});

describe("casts to integers and bool", () => {
  test("truncate toward zero, saturate, and take NaN as 0", async () => {
    const x = tensor([-1.9, 1.9, 3e9, -3e9, Number.NaN, Number.POSITIVE_INFINITY]);
    expect(await x.astype("int32").toArray()).toEqual([-1, 1, 2147483647, -2147483648, 0, 2147483647]);
    expect(await x.astype("uint32").toArray()).toEqual([0, 1, 3000000000, 0, 0, 4294967295]);
    expect(await x.astype("uint8").toArray()).toEqual([0, 1, 255, 0, 0, 255]);
  });
  test("integers wrap around", async () => {
    const x = tensor(Int32Array.of(-1, 257, 5));
    expect(await x.astype("uint8").toArray()).toEqual([255, 1, 5]);
    expect(await x.astype("uint32").toArray()).toEqual([4294967295, 257, 5]);
    expect(await tensor(Uint32Array.of(4294967295)).astype("int32").toArray()).toEqual([-1]);
  });
  test("everything but 0 is true", async () => {
    expect(await tensor([0, -0, 0.1, Number.NaN]).astype("bool").toArray()).toEqual([false, false, true, true]);
  });
});
