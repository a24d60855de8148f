/** Formats and recipes: defaults, values that are refused, and recipes found by their names. */
import { expectError } from "@te/testkit";
import { afterEach, describe, expect, it, vi } from "vitest";
import * as fp8 from "../src/index.js";
import {
  DelayedScaling,
  Float8CurrentScaling,
  Format,
  float8Max,
  getQuantizationRecipe,
  getSupportedQuantizationRecipes,
  isQuantizeRecipeSupported,
} from "../src/index.js";

const make = (options: object) => () => new DelayedScaling(options);

describe("Format", () => {
  it("names the types of forward and backward", () => {
    const types = Object.values(Format).map(({ name, forward, backward }) => [name, forward, backward]);
    expect(types).toEqual([
      ["E4M3", "float8_e4m3fn", "float8_e4m3fn"],
      ["E5M2", "float8_e5m2", "float8_e5m2"],
      ["HYBRID", "float8_e4m3fn", "float8_e5m2"],
    ]);
    expect([float8Max("float8_e4m3fn"), float8Max("float8_e5m2")]).toEqual([448, 57344]);
  });
});

describe("DelayedScaling", () => {
  afterEach(() => vi.restoreAllMocks());

  it("has the original's defaults", () => {
    const recipe = new DelayedScaling();
    expect({ ...recipe }).toEqual({
      margin: 0,
      fp8Format: Format.HYBRID,
      amaxHistoryLen: 1024,
      amaxComputeAlgo: "max",
      reduceAmax: true,
    });
  });

  it("takes every supported value", () => {
    const recipe = new DelayedScaling({
      margin: -1,
      fp8Format: "E4M3",
      amaxHistoryLen: 1,
      amaxComputeAlgo: "most_recent",
      scalingFactorComputeAlgo: null,
      reduceAmax: true,
      interval: -1,
      overrideLinearPrecision: [false, false, false],
      fp8Dpa: false,
      fp8Mha: false,
    });
    expect(recipe).toMatchObject({
      margin: -1,
      fp8Format: Format.E4M3,
      amaxHistoryLen: 1,
      amaxComputeAlgo: "most_recent",
    });
    expect(new DelayedScaling({ fp8Format: Format.E4M3 }).fp8Format).toBe(Format.E4M3);
  });

  it.each([
    ["option", { margin: Number.NaN }, /margin must be a finite number, got NaN/],
    ["option", { margin: "1" }, /margin must be a finite number, got "1"/],
    [
      "option",
      { fp8Format: Format.E5M2 },
      /fp8Format must be Format.HYBRID or Format.E4M3; a product of two float8_e5m2 .*got E5M2/,
    ],
    ["option", { fp8Format: "E2M1" }, /fp8Format must be Format.HYBRID or Format.E4M3, got E2M1/],
    ["option", { amaxHistoryLen: 0 }, /amaxHistoryLen must be an integer of at least 1, got 0/],
    ["option", { amaxHistoryLen: 1.5 }, /amaxHistoryLen must be an integer/],
    ["option", { amaxComputeAlgo: "mean" }, /amaxComputeAlgo must be "max" or "most_recent", got mean/],
    ["option", { amaxComputeAlgo: Math.max }, /amaxComputeAlgo must be "max" or "most_recent", got function max/],
    [
      "unsupported",
      { scalingFactorComputeAlgo: Math.max },
      /scalingFactorComputeAlgo must be null: the scale formula is fixed, got function max/,
    ],
    ["unsupported", { reduceAmax: false }, /reduceAmax must be true/],
    [
      "unsupported",
      { overrideLinearPrecision: [false, false, true] },
      /overrideLinearPrecision must be \[false, false, false\]/,
    ],
    ["unsupported", { fp8Dpa: true }, /fp8Dpa must be false: attention in FP8 is not supported, got true/],
    ["unsupported", { fp8Mha: true }, /fp8Mha must be false/],
    [
      "option",
      { historyLen: 4 },
      /unknown option historyLen\. Did you mean amaxHistoryLen\? Options: margin, fp8Format/,
    ],
    ["unsupported", { backwardOverride: "dequantized" }, /backwardOverride must be null.*got dequantized/],
  ])("rejects with %s: %o", (code, options, message) => {
    expectError(code, message, make(options));
  });

  it("warns of the interval, which has no effect", () => {
    const write = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    make({ interval: -1 })();
    expect(write).not.toHaveBeenCalled();
    make({ interval: 3 })();
    expect(write.mock.calls.join()).toMatch(/interval is deprecated and ignored \(got 3\)/);
  });
});

describe("recipes by name", () => {
  const planned = ["MXFP8BlockScaling", "NVFP4BlockScaling"];

  it("finds those that exist", () => {
    expect(getSupportedQuantizationRecipes()).toEqual(["DelayedScaling", "Float8CurrentScaling"]);
    expect(getQuantizationRecipe("DelayedScaling")).toBe(DelayedScaling);
    expect(getQuantizationRecipe("Float8CurrentScaling")).toBe(Float8CurrentScaling);
    expect(isQuantizeRecipeSupported("DelayedScaling")).toEqual([true, ""]);
  });

  it.each(planned)("says that %s is not there yet, and exports nothing of that name", (name) => {
    expect(fp8).not.toHaveProperty(name);
    expect(isQuantizeRecipeSupported(name)).toEqual([false, `the recipe ${name} is not supported yet`]);
    expectError("unsupported", /not supported yet\. Supported: DelayedScaling/, () => getQuantizationRecipe(name));
  });

  it("rejects other names", () => {
    expect(isQuantizeRecipeSupported("toString")).toEqual([false, "there is no recipe toString"]);
    expectError("option", /there is no recipe Float8BlockScaling/, () => getQuantizationRecipe("Float8BlockScaling"));
  });
});
