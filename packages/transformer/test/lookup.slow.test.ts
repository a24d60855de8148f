/** E01 at full size: every dtype and recipe, three seeds, and a handicap that must show. */
import { DelayedScaling, Float8CurrentScaling } from "@te/fp8";
import { setDevice } from "@te/tensor";
import { describe, expect, test } from "vitest";
import { FULL, trainLookup } from "./lookup-task.js";

setDevice("auto");

describe("E01 associative lookup", () => {
  const kinds = [
    ["float32", {}],
    ["bfloat16", { dtype: "bfloat16" }],
    ["FP8, delayed scaling", { dtype: "bfloat16", recipe: new DelayedScaling({ amaxHistoryLen: 16 }) }],
    ["FP8, current scaling", { dtype: "bfloat16", recipe: new Float8CurrentScaling() }],
  ] as const;
  describe.each(kinds)("%s", (_, options) => {
    test.each([0, 1, 2])("seed %i", { timeout: 600_000 }, async (seed) => {
      expect(await trainLookup({ ...FULL, ...options }, seed)).toBeGreaterThanOrEqual(0.99);
    });
  });

  test("without the padding mask the decoys win", { timeout: 600_000 }, async () => {
    expect(await trainLookup({ ...FULL, mask: false }, 0)).toBeLessThanOrEqual(0.19);
  });
});
