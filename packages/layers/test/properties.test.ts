/** Random options and shapes: jit equals eager to the bit, every device the reference, sequence-first batch-first. */
import { fc, test } from "@fast-check/vitest";
import { DelayedScaling, Float8CurrentScaling, fp8Autocast, type Recipe } from "@te/fp8";
import { type DType, jit, random, setDevice, Tensor, tree, valueAndGrad } from "@te/tensor";
import { FLOATS } from "@te/tensor/op";
import { findBitDifference, findDifference, forSize, limitOf, normals, perturbed, presentDevices } from "@te/testkit";
import { afterAll, describe, expect } from "vitest";
import {
  DenseGeneral,
  LayerNorm,
  LayerNormDenseGeneral,
  LayerNormMLP,
  type Module,
  type Variables,
} from "../src/index.js";

const anyRecipe = fc.oneof(
  { weight: 3, arbitrary: fc.constant(null) },
  {
    weight: 2,
    arbitrary: fc
      .record({
        margin: fc.integer({ min: -1, max: 2 }),
        fp8Format: fc.constantFrom<"HYBRID" | "E4M3">("HYBRID", "E4M3"),
        amaxHistoryLen: fc.integer({ min: 1, max: 3 }),
        amaxComputeAlgo: fc.constantFrom<"max" | "most_recent">("max", "most_recent"),
      })
      .map((o) => new DelayedScaling(o)),
  },
  { weight: 1, arbitrary: fc.constant(new Float8CurrentScaling()) },
);

const size = fc.integer({ min: 1, max: 9 });
const shared = {
  recipe: anyRecipe,
  dtype: fc.constantFrom<DType>("float32", "float32", "bfloat16", "float16"),
  parameterDtype: fc.constantFrom<DType>("float32", "same" as DType),
  leading: fc.array(size, { minLength: 1, maxLength: 3 }),
  hidden: fc.integer({ min: 2, max: 40 }),
};
const norm = fc
  .record({
    layernormType: fc.constantFrom("layernorm", "RMSNorm"),
    epsilon: fc.constantFrom(1e-6, 1e-2),
    zeroCenteredGamma: fc.boolean(),
  })
  .map((o) => ({ ...o, zeroCenteredGamma: o.zeroCenteredGamma && o.layernormType === "layernorm" }));
const adapter = fc.record({
  enableLowRankAdaptation: fc.boolean(),
  lowRankAdaptationDim: fc.integer({ min: 1, max: 4 }),
  lowRankAdaptationAlpha: fc.constantFrom(null, 1, 8),
});
const features = fc.oneof(size, fc.array(size, { minLength: 1, maxLength: 3 }));
const activation = fc.constantFrom(
  ["gelu"],
  ["Linear"],
  ["squared_relu"],
  ["silu", "linear"],
  ["linear", "quick_gelu"],
  ["clamped_silu", "clamped_linear"],
  ["relu", "relu"],
  ["sigmoid", "gelu", "linear"],
);

type Options = Record<string, unknown>;
const options = (...parts: fc.Arbitrary<Options>[]): fc.Arbitrary<Options> =>
  fc.tuple(...parts).map((given) => Object.assign({}, ...given));

/** What is tried for each class: its options, and how it is made for an input of this rank. */
const classes: Record<string, { options: fc.Arbitrary<Options>; make: (o: Options, rank: number) => Module }> = {
  LayerNorm: { options: norm, make: (o) => new LayerNorm(o) },
  DenseGeneral: {
    options: options(
      adapter,
      fc.record({ features, useBias: fc.boolean(), axes: fc.shuffledSubarray([0, 1, 2, 3], { minLength: 1 }) }),
    ),
    make: ({ axes, ...o }, rank) => {
      const axis = (axes as number[]).filter((a) => a < rank).map((a, i) => (i % 2 ? a : a - rank));
      return new DenseGeneral({ ...(o as { features: number }), axis: axis.length ? axis : -1 });
    },
  },
  LayerNormDenseGeneral: {
    options: options(
      norm,
      adapter,
      fc.record({
        features,
        useBias: fc.boolean(),
        enableLayernorm: fc.boolean(),
        returnLayernormOutput: fc.boolean(),
        depthScaling: fc.constantFrom(null, 2, -0.3),
      }),
    ),
    make: (o) => new LayerNormDenseGeneral(o as { features: number }),
  },
  LayerNormMLP: {
    options: options(
      norm,
      adapter,
      fc.record({
        intermediateDim: fc.integer({ min: 1, max: 24 }),
        useBias: fc.boolean(),
        enableLayernorm: fc.boolean(),
        returnLayernormOutput: fc.boolean(),
        activations: activation,
        intermediateDropoutRate: fc.constantFrom(0, 0, 0.3),
        intermediateHiddenDropoutDims: fc.constantFrom([], [0], [-2]),
        activationParams: fc.constantFrom(null, { limit: 5, alpha: 1.2, gluLinearOffset: 0.5 }),
        transposeBatchSequence: fc.boolean(),
      }),
    ),
    make: (o) => new LayerNormMLP(o),
  },
};

interface Setting {
  readonly module: Module;
  readonly x: Tensor;
  readonly variables: Variables;
}

interface Shared {
  readonly recipe: Recipe | null;
  readonly dtype: DType;
  readonly parameterDtype: DType;
  readonly leading: readonly number[];
  readonly hidden: number;
}

const rngs = { dropout: random.key(11) };

const inRecipe = <R>(fp8Recipe: Shared["recipe"], f: () => R): R =>
  fp8Autocast({ enabled: fp8Recipe !== null, fp8Recipe }, f);

function setUp(name: string, options: Options, { dtype, parameterDtype, leading, hidden }: Shared): Setting {
  const own = FLOATS.includes(parameterDtype) ? parameterDtype : dtype;
  const shape = [...leading, hidden];
  const module = classes[name]!.make({ ...options, dtype: own }, shape.length);
  const x = normals(shape, { dtype });
  const { params, fp8_metas } = module.init(random.key(3), x);
  const leaves = tree.leavesWithPath(perturbed(params)).map(({ path, leaf }) =>
    // An adapter starts at zero, and would not be seen.
    path.at(-1)!.includes("lora_b") ? normals(leaf.shape, { seed: "b", dtype: leaf.dtype, std: 0.3 }) : leaf,
  );
  const noisy = tree.unflatten(tree.flatten(params)[1], leaves) as typeof params;
  return { module, x, variables: { params: noisy!, ...(fp8_metas && { fp8_metas }) } };
}

/** The results, the gradients of all inputs and parameters, and the FP8 state after the step, by name. */
function step({ module, x, variables }: Setting, run = <F>(f: F): F => f): Record<string, Tensor> {
  const loss = (variables: Variables, x: Tensor) => {
    const results = [module.apply(variables, x, { rngs })].flat().filter((y) => y instanceof Tensor) as Tensor[];
    const terms = results.map((y, i) =>
      y
        .astype("float32")
        .mul(normals(y.shape, { seed: `dy${i}` }))
        .sum(),
    );
    return [terms.reduce((a, b) => a.add(b)), results] as const;
  };
  const f = valueAndGrad(loss, { argnums: [0, 1], hasAux: true });
  const [[, y], [dv, dx]] = run(f)(variables, x);
  return Object.fromEntries(tree.leavesWithPath({ y, dx, dv }).map(({ path, leaf }) => [path.join("/"), leaf]));
}

const largest = (t: Tensor): number => t.astype("float32").abs().max().dataSync()[0]! as number;

/**
 * Within the row of the table for what is composed of several roundings; in FP8 within its noise, since one flipped code
 * is as much. A gradient that cancels to nothing is rounding: then the size of the largest one counts.
 */
function expectClose(actual: Record<string, Tensor>, reference: Record<string, Tensor>, given: Shared): void {
  expect(Object.keys(actual)).toEqual(Object.keys(reference));
  const row = given.recipe === null ? "layerNormParameter" : "layerFp8NormParameter";
  const scale = Math.max(...Object.values(reference).map(largest));
  for (const [name, t] of Object.entries(reference)) {
    const found = findDifference(actual[name]!, t, forSize(limitOf(row, given.dtype), t.size));
    if (!found) continue;
    const difference = largest(actual[name]!.astype("float32").sub(t.astype("float32")));
    expect(difference, `${name}: ${found}`).toBeLessThan(limitOf(row, given.dtype).n * scale);
  }
}

const seed = Number(process.env.TE_TEST_SEED ?? 1);
const devices = presentDevices();
afterAll(() => setDevice("auto"));

describe.each(Object.entries(classes))("any options of %s", (name, { options }) => {
  const given = fc.record({ options, shared: fc.record(shared) });

  test.prop([given], { numRuns: 25, seed })("jit equals eager, and every device the reference", ({ options, shared }) =>
    inRecipe(shared.recipe, () => {
      const results = devices.map((device) => {
        setDevice(device);
        const setting = setUp(name, options, shared);
        const eager = step(setting);
        for (const [what, t] of Object.entries(step(setting, jit as never)))
          expect(findBitDifference(t, eager[what]!), `${what} on ${device}`).toBeUndefined();
        return eager;
      });
      for (const result of results.slice(1)) expectClose(result, results[0]!, shared);
    }),
  );

  if (name !== "DenseGeneral")
    test.prop([given, size, size], { numRuns: 8, seed })(
      "sequence-first equals batch-first",
      ({ options, shared }, b, s) =>
        inRecipe(shared.recipe, () => {
          setDevice("auto");
          // The elements that are dropped depend on where they stand.
          const still = name === "LayerNormMLP" ? { ...options, intermediateDropoutRate: 0 } : options;
          const { module, x, variables } = setUp(name, still, { ...shared, leading: [b, s] });
          const swapped = [module.apply(variables as never, x.transpose([1, 0, 2]))].flat() as (Tensor | undefined)[];
          const straight = [module.apply(variables as never, x)].flat() as (Tensor | undefined)[];
          straight.forEach((y, i) => {
            const order = y && [1, 0, ...y.shape.slice(2).map((_, axis) => axis + 2)];
            if (y) expectClose({ y: swapped[i]!.transpose(order) }, { y }, shared);
            else expect(swapped[i]).toBeUndefined();
          });
        }),
    );
});
