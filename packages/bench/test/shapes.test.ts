/** The bench of shapes runs in small, and has every group. Times are not judged; memory is. */
import { cpuInfo } from "@te/kernels-cpu";
import { expect, test } from "vitest";
import { SMALL } from "../src/reference.js";
import { benchShapes } from "../src/shapes.js";

const info = cpuInfo();

test.skipIf(!info.available)("small shapes have every group in every dtype", { timeout: 120_000 }, async () => {
  const sizes = { elements: 2 ** 14, product: 64, sequences: [512, 2048], window: 64, layer: SMALL, rounds: 1 };
  const { rows } = await benchShapes({ sizes });
  const counts = (dtype: string): Record<string, number> => {
    const groups = rows.filter((row) => row.dtype === dtype).map(({ group }) => group);
    return Object.fromEntries([...new Set(groups)].map((name) => [name, groups.filter((g) => g === name).length]));
  };
  const layers = { threads: 1, "busy processor": 1 };
  for (const dtype of ["float32", "bfloat16"])
    expect(counts(dtype)).toEqual({ "wide rows": 5, "odd sizes": 3, "long sequences": 2, ...layers });
  expect(counts("fp8")).toEqual(layers);
  for (const { ms, share, fair = 1 } of rows) {
    expect(ms).toBeGreaterThan(0);
    expect(share).toBeGreaterThan(0);
    expect(fair).toBeLessThanOrEqual(1);
  }
  // Four times the sequence has four times the memory.
  for (const { memoryTimes, case: name } of rows.filter(({ group }) => group === "long sequences"))
    expect([name, Math.round(memoryTimes!)]).toEqual([name, 4]);
  expect(cpuInfo()).toEqual(info);
});
