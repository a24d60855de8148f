/** D01: delayed scaling over several steps, against plain numbers and against recorded quantizers of the original. */
import { jit, type Tensor, tensor } from "@te/tensor";
import { expectError, type GoldenCase, readGolden } from "@te/testkit";
import { describe, expect, it } from "vitest";
import {
  type AmaxComputeAlgo,
  DelayedScaling,
  type Float8,
  float8Max,
  nextState,
  productMetas,
  quantizeWith,
  type ScaleState,
  scaleFromHistory,
} from "../src/index.js";

const E4M3: Float8 = "float8_e4m3fn";
const list = async (t: Tensor) => Array.from(await t.values());

const freshState = (length: number): ScaleState => ({
  scale: tensor([1]),
  amaxHistory: tensor(new Float32Array(length)),
});

/** The quantizer of a recipe with formats E4M3 forward and E5M2 backward that makes this type. */
const quantizerOf = (recipe: DelayedScaling, dtype: Float8) => recipe.quantizer(dtype === E4M3 ? "x" : "grad");

/** One step for a tensor whose largest magnitude is known. */
const stepWith = (state: ScaleState, amax: number, recipe: DelayedScaling, dtype: Float8 = E4M3): ScaleState =>
  nextState(state, { q: tensor(new Uint8Array(1), { dtype }), amax: tensor([amax]) }, quantizerOf(recipe, dtype));

/** The update in plain numbers, rounding as float32 does. */
function updateByHand(
  scale: number,
  history: readonly number[],
  amax: number,
  { dtype, algo, margin }: { dtype: Float8; algo: AmaxComputeAlgo; margin: number },
) {
  const seen = [amax, ...history.slice(1)];
  const chosen = algo === "max" ? Math.max(...seen) : amax;
  const raw = Math.fround(Math.fround(float8Max(dtype) / chosen) / 2 ** margin);
  const next = chosen > 0 && Number.isFinite(chosen) ? Math.min(raw, 3.4028234663852886e38) : scale;
  const stored = Number.isFinite(amax) ? amax : 0;
  return { scale: next, history: history.length === 1 ? [0] : [0, ...history.slice(2), stored] };
}

describe("delayed scaling", () => {
  // Scales that are used in each step and what follows, for amaxes 2 8 1 1 1 .5 0 4 and a history of three.
  const amaxes = [2, 8, 1, 1, 1, 0.5, 0, 4];
  const histories = [
    [0, 0, 2],
    [0, 2, 8],
    [0, 8, 1],
    [0, 1, 1],
    [0, 1, 1],
    [0, 1, 0.5],
    [0, 0.5, 0],
    [0, 0, 4],
  ];
  it.each([
    ["max", [1, 224, 56, 56, 56, 448, 448, 448, 112]],
    ["most_recent", [1, 224, 56, 448, 448, 448, 896, 896, 112]],
  ] as const)("follows the reference trace: %s", async (amaxComputeAlgo, scales) => {
    const recipe = new DelayedScaling({ amaxHistoryLen: 3, amaxComputeAlgo });
    const step = jit((state: ScaleState, amax: Tensor) =>
      nextState(state, { q: tensor(new Uint8Array(1), { dtype: E4M3 }), amax }, recipe.quantizer("x")),
    );
    let [eager, compiled] = [freshState(3), freshState(3)];
    for (const [i, amax] of amaxes.entries()) {
      expect(await eager.scale.item()).toBe(scales[i]);
      eager = stepWith(eager, amax, recipe);
      compiled = step(compiled, tensor([amax]));
      expect(await list(eager.amaxHistory)).toEqual(histories[i]);
      expect(await list(compiled.amaxHistory)).toEqual(histories[i]);
      expect(await compiled.scale.item()).toBe(scales[i + 1]);
    }
    expect(await eager.scale.item()).toBe(scales.at(-1));
  });

  it("D01: scales and bytes of seven steps", async () => {
    const recipe = new DelayedScaling({ amaxHistoryLen: 4, fp8Format: "E4M3" });
    const steps = [
      [[0.5, -2, 3], 1, "30c044"],
      [[10, -600, 1], 149.33333, "7efe71"],
      [[0, 0, 0], 0.74666667, "000000"],
      [[1, 2, -4], 0.74666667, "343cc4"],
      [[0.25, 0.5, 1], 0.74666667, "242c34"],
      [[0.25, 0.5, 1], 0.74666667, "242c34"],
      [[0.25, 0.5, 1], 112, "5e666e"],
    ] as const;
    let state = freshState(4);
    for (const [values, scale, bytes] of steps) {
      expect(await state.scale.item()).toBe(Math.fround(scale));
      const quantized = quantizeWith(state, tensor([...values]), E4M3);
      expect(Buffer.from(await quantized.q.data()).toString("hex")).toBe(bytes);
      state = nextState(state, quantized, recipe.quantizer("kernel"));
    }
  });

  it("divides by a power of two for the margin, and uses the format's largest value", async () => {
    const recipe = new DelayedScaling({ amaxHistoryLen: 2, margin: 3 });
    expect(await stepWith(freshState(2), 7, recipe).scale.item()).toBe(8);
    expect(await stepWith(freshState(2), 7, recipe, "float8_e5m2").scale.item()).toBe(1024);
    const negative = new DelayedScaling({ amaxHistoryLen: 2, margin: -1 });
    expect(await stepWith(freshState(2), 7, negative).scale.item()).toBe(128);
  });

  it("keeps nothing in a history of one", async () => {
    const recipe = new DelayedScaling({ amaxHistoryLen: 1 });
    let state = freshState(1);
    for (const [amax, scale] of [
      [2, 224],
      [8, 56],
      [0, 56],
      [4, 112],
    ] as const) {
      state = stepWith(state, amax, recipe);
      expect(await list(state.amaxHistory)).toEqual([0]);
      expect(await state.scale.item()).toBe(scale);
    }
  });

  it("keeps the scale within float32", async () => {
    const recipe = new DelayedScaling({ amaxHistoryLen: 2 });
    const state = stepWith(freshState(2), 1e-40, recipe);
    expect(await state.scale.item()).toBe(3.4028234663852886e38);
    expect(await list(quantizeWith(state, tensor([1e-40, -1e-40, 0]), E4M3).q)).toEqual([0.03515625, -0.03515625, 0]);
  });

  it.each([
    ["max", Number.NaN],
    ["max", Number.POSITIVE_INFINITY],
    ["most_recent", Number.NaN],
    ["most_recent", Number.POSITIVE_INFINITY],
  ] as const)("is not bent by an amax that is not finite: %s, %d", async (amaxComputeAlgo, odd) => {
    const recipe = new DelayedScaling({ amaxHistoryLen: 4, amaxComputeAlgo });
    let state = stepWith(freshState(4), 2, recipe);
    state = stepWith(state, odd, recipe);
    expect(await state.scale.item()).toBe(224);
    expect(await list(state.amaxHistory)).toEqual([0, 0, 2, 0]);
    state = stepWith(state, 7, recipe);
    expect(await state.scale.item()).toBe(64);
    expect(await list(state.amaxHistory)).toEqual([0, 2, 0, 7]);
  });

  it("takes over a history that holds infinities, as the original stores them", async () => {
    const recipe = new DelayedScaling({ amaxHistoryLen: 3 });
    const poisoned = { scale: tensor([5]), amaxHistory: tensor([0, Number.POSITIVE_INFINITY, 2]) };
    const state = stepWith(poisoned, 7, recipe);
    expect(await list(state.amaxHistory)).toEqual([0, 2, 7]);
    expect(await state.scale.item()).toBe(5);
    expect(await stepWith(state, 1, recipe).scale.item()).toBe(64);
  });

  it("gives a scale for a history", async () => {
    const scale = (history: number[], options = {}) =>
      scaleFromHistory(tensor(history), tensor([3]), { dtype: E4M3, ...options }).item();
    expect(await scale([1, 4, 2])).toBe(112);
    expect(await scale([1, 4, 2], { amaxComputeAlgo: "most_recent" })).toBe(448);
    expect(await scale([0, 0])).toBe(3);
    expect(await scale([Number.NaN, 1])).toBe(3);
    expect(await scale([1, Number.POSITIVE_INFINITY])).toBe(3);
    expect(await scale([-1])).toBe(3);
  });

  it("rejects states of other shapes", () => {
    const recipe = new DelayedScaling({ amaxHistoryLen: 3 });
    const state = freshState(3);
    expectError("shape", /amax must have shape \[1\]/, () =>
      nextState(state, { q: tensor(new Uint8Array(1), { dtype: E4M3 }), amax: tensor([1, 2]) }, recipe.quantizer("x")),
    );
    expectError("shape", /history must have at least one entry/, () => stepWith(freshState(0), 1, recipe));
    expectError("dtype", /history must be float32/, () =>
      stepWith({ ...state, amaxHistory: tensor([1, 2], { dtype: "int32" }) }, 1, recipe),
    );
    expectError("dtype", /q must be float8_e4m3fn, as the quantizer makes it, got float32/, () =>
      nextState(state, { q: tensor([1]), amax: tensor([1]) }, recipe.quantizer("x")),
    );
  });
});

describe("recorded quantizers", () => {
  const golden = readGolden("quantizers_delayed");
  const optionsOf = (of: GoldenCase) => {
    const { qDtype, amaxComputeAlgo, margin, amaxHistoryLen } = of.options as {
      qDtype: string;
      amaxComputeAlgo: AmaxComputeAlgo;
      margin: number;
      amaxHistoryLen: number;
    };
    return { dtype: `float8_${qDtype}` as Float8, algo: amaxComputeAlgo, margin, length: amaxHistoryLen };
  };
  const finite = (values: readonly number[]) => values.map((value) => (Number.isFinite(value) ? value : 0));

  it("are there", () => {
    expect(golden.cases).toHaveLength(15);
  });

  it.each(golden.cases.map((of) => [of.id, of] as const))("%s", async (_, of) => {
    const { dtype, algo, margin, length } = optionsOf(of);
    const recipe = new DelayedScaling({ amaxHistoryLen: length, amaxComputeAlgo: algo, margin });
    const read = (step: number, name: string) => golden.tensor(of, `step${step}/${name}`);
    let poisoned = 0;
    for (let step = 0; step < (of.steps as number); step++) {
      const history = await list(read(step, "before/amax_history"));
      const state = { scale: read(step, "before/scale"), amaxHistory: tensor(finite(history)) };
      const quantized = quantizeWith(state, read(step, "in/x"), dtype);
      const after = nextState(state, quantized, quantizerOf(recipe, dtype));

      expect(await quantized.q.data(), `step ${step}`).toEqual(await read(step, "out/rowwise/data").data());
      expect(await list(quantized.scaleInv)).toEqual(await list(read(step, "out/rowwise/scale_inv")));
      // The original keeps infinities in its history, which then freeze its scale; here they are stored as 0.
      expect(await list(after.amaxHistory)).toEqual(finite(await list(read(step, "after/amax_history"))));
      const frozen = algo === "max" && history.slice(1).some((value) => !Number.isFinite(value));
      const byHand = updateByHand(await state.scale.item(), finite(history), await quantized.amax.item(), {
        dtype,
        algo,
        margin,
      });
      expect(await after.scale.item()).toBe(byHand.scale);
      expect(await list(after.amaxHistory)).toEqual(byHand.history);
      if (frozen) poisoned++;
      else expect(await after.scale.item()).toBe(await read(step, "after/scale").item());
    }
    expect(poisoned).toBeLessThan(4);
  });
});

describe("productMetas", () => {
  const names = (postfix: "" | `_${number}`) => {
    const variables: Record<string, Tensor> = {};
    productMetas(
      new DelayedScaling({ amaxHistoryLen: 5 }),
      (name, init) => {
        variables[name] = init();
        return variables[name];
      },
      postfix,
    );
    return variables;
  };

  it("creates the variables under the original's names", async () => {
    const variables = names("");
    expect(Object.keys(variables)).toEqual([
      "x_scale",
      "x_amax_history",
      "kernel_scale",
      "kernel_amax_history",
      "grad_scale",
      "grad_amax_history",
    ]);
    expect(await list(variables.x_scale!)).toEqual([1]);
    expect(await list(variables.grad_amax_history!)).toEqual([0, 0, 0, 0, 0]);
    expect(Object.values(variables).every(({ dtype }) => dtype === "float32")).toBe(true);
    expect(Object.keys(names("_1"))).toContain("kernel_1_amax_history");
    expect(Object.keys(names("_0"))[0]).toBe("x_0_scale");
  });

  it("rejects a history of another length than the recipe's", () => {
    expectError("state", /x_amax_history must be float32\[1024\], got float32\[4\]. Use a recipe with that/, () =>
      productMetas(new DelayedScaling(), (name) => tensor(new Float32Array(name.endsWith("scale") ? 1 : 4))),
    );
  });

  it("rejects scales and histories of another shape or dtype", () => {
    const recipe = new DelayedScaling({ amaxHistoryLen: 4 });
    for (const name of ["x_scale", "kernel_amax_history", "grad_scale"])
      for (const other of [tensor([[1]]), tensor(1), tensor([1, 2]), tensor([1], { dtype: "int32" })])
        expectError("state", new RegExp(`^productMetas: ${name} must be float32\\[[14]\\], got `), () =>
          productMetas(recipe, (found, init) => (found === name ? other : init())),
        );
  });
});
