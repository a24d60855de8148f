/** Products of a few rows with weights in FP8: every code, NaN and subnormal ones too, gives what the reference gives. */
import { scaledDotOp } from "@te/fp8";
import { setDevice, type Tensor, tensor } from "@te/tensor";
import { afterAll, expect, test } from "vitest";
import { cpuInfo } from "../src/index.js";

afterAll(() => setDevice("auto"));

const [DEPTH, COLUMNS] = [150, 83];
const weights = Float32Array.from(
  { length: DEPTH * COLUMNS },
  (_, i) => Math.sin(1.7 * i) * (i % 11 === 0 ? 0.003 : 3),
);
weights[77] = Number.NaN;

/** The product of `rows` rows; `deep`: the depth of the weights lies along their memory. */
async function product(device: string, dtype: "float8_e4m3fn" | "float8_e5m2", deep: boolean, rows: number) {
  setDevice(device);
  const a = tensor(
    Float32Array.from({ length: rows * DEPTH }, (_, i) => Math.cos(i)),
    { shape: [rows, DEPTH] },
  );
  const b = tensor(weights, { shape: deep ? [COLUMNS, DEPTH] : [DEPTH, COLUMNS] });
  const one: Tensor = tensor([1]);
  const { y } = scaledDotOp(
    { a: a.astype("float8_e4m3fn"), b: b.astype(dtype), aScaleInv: one, bScaleInv: one },
    { lhsContract: [1], rhsContract: [deep ? 1 : 0], dtype: "float32" },
  );
  return [...(await y.values())];
}

test.skipIf(!cpuInfo().available).each([
  ["float8_e4m3fn", false],
  ["float8_e4m3fn", true],
  ["float8_e5m2", false],
  ["float8_e5m2", true],
] as const)("%s, deep: %s", async (dtype, deep) => {
  for (const rows of [1, 2, 3, 8]) {
    const expected = await product("reference", dtype, deep, rows);
    expect(expected.filter(Number.isNaN).length).toBe(rows);
    for (const [i, value] of (await product("cpu", dtype, deep, rows)).entries()) {
      if (Number.isNaN(expected[i])) expect(value).toBeNaN();
      else expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-4);
    }
  }
});
