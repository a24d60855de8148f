/** Recorded FP8 training steps of modules: values, gradients, and the metas that the steps leave behind. */
import { DelayedScaling, Float8CurrentScaling, fp8Autocast, type Recipe } from "@te/fp8";
import type { Module, Variables, VariableTree } from "@te/layers";
import { Tensor, tree, valueAndGrad } from "@te/tensor";
import { describe, expect, test } from "vitest";
import { findDifference, valuesOf } from "./compare.js";
import { onEachDevice } from "./devices.js";
import {
  argumentsOf,
  expectInitialVariables,
  expectRecorded,
  initialVariables,
  type LimitFor,
  optionsOf,
  type Replay,
  recordedLoss,
  recordedParameters,
} from "./golden-replay.js";
import type { ModuleOf } from "./golden-suite.js";
import { type Golden, type GoldenCase, readGolden } from "./goldens.js";
import { limitOf, widen } from "./tolerance.js";

interface Steps extends GoldenCase {
  readonly steps: number;
  readonly paramMultiplier: readonly number[];
  readonly recipeOptions: { amaxHistoryLen: number; fp8Format: "HYBRID" };
  readonly inputDtype: string;
}

export interface RecordedFp8Options {
  /** Which cases, by module. */
  readonly modules: readonly string[];
  readonly make: ModuleOf;
  /**
   * Name under which the original has a meta: its fused MLP quantises the gradient of its output with the metas of
   * product 0, and that of the pre-activation with those of product 1.
   */
  readonly recordedName?: (of: GoldenCase, name: string) => string;
}

/** Groups of recorded steps, with their recipes. */
const GROUPS: Record<string, (options: Steps["recipeOptions"]) => Recipe> = {
  fp8_delayed_scaling: (options) => new DelayedScaling(options),
  fp8_current_scaling: (options) => new Float8CurrentScaling(options),
};

/** One training step on fp8_metas and parameters; the gradient of fp8_metas is their value after it. */
function step(
  golden: Golden,
  of: Steps,
  t: number,
  module: Module,
  params: VariableTree,
  metas: VariableTree | undefined,
): Replay & { metas: VariableTree | undefined } {
  const x = golden.tensor(of, `step${t}/in/x`);
  const dys = golden.tensors(of, `step${t}/dy/`);
  const multiplied = tree.map((leaf: Tensor) => (leaf.rank > 1 ? leaf.mul(of.paramMultiplier[t]!) : leaf), params);
  const loss = (variables: Variables, x: Tensor) => {
    const result = module.apply(variables, ...argumentsOf(of, { x }));
    const outputs = (Array.isArray(result) ? result : [result]).filter((out) => out instanceof Tensor);
    return [recordedLoss(outputs, dys), outputs] as const;
  };
  const [[, outputs], [grads, dx]] = valueAndGrad(loss, { argnums: [0, 1], hasAux: true })(
    { params: multiplied, fp8_metas: metas },
    x,
  );
  const named = tree.leavesWithPath(grads.params).map(({ path, leaf }) => [`params/${path.join("/")}`, leaf]);
  return { outputs, gradients: { ...Object.fromEntries(named), "in/x": dx }, metas: grads.fp8_metas };
}

/** The tensors of one step under the names that a case of one call has. */
function stepOf(golden: Golden, of: Steps, t: number): { golden: Golden; of: GoldenCase } {
  const prefix = `step${t}/`;
  const tensors = of.tensors.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  const read = (name: string) => golden.tensor(of, prefix + name);
  const view: Golden = {
    cases: [],
    tensor: (_, name) => read(name),
    tensors: (_, start) =>
      Object.fromEntries(tensors.filter((n) => n.startsWith(start)).map((n) => [n.slice(start.length), read(n)])),
  };
  return { golden: view, of: { ...of, id: `${of.id} step ${t}`, tensors } };
}

/**
 * How far apart results may be. The reference computes float32 cases as the original did, to the last bits, so that FP8
 * codes are equal. Elsewhere one flipped code is as much as FP8 noise; and what is recorded rounded norms and the gradients
 * of pre-activations to bfloat16 before it quantised them, where the original's kernels, as ours, do it from float32.
 */
function limitsOn(device: string, of: Steps): { values: LimitFor; metas: number } {
  if (of.module === "DenseGeneral") return { values: (_, dtype) => limitOf("composed", dtype), metas: 0 };
  if (device === "reference" && of.inputDtype === "f32")
    return { values: (_, dtype) => limitOf("composed", dtype), metas: 1e-6 };
  const times = of.inputDtype === "f32" || of.module !== "LayerNormMLP" ? 1 : 1.25;
  return {
    values: (name, dtype) => widen(limitOf(name.startsWith("out/") ? "layerFp8" : "layerFp8Weight", dtype), times),
    metas: 4e-2,
  };
}

export function testRecordedFp8(options: RecordedFp8Options): void {
  for (const [group, recipeOf] of Object.entries(GROUPS)) testGroup(group, recipeOf, options);
}

function testGroup(
  group: string,
  recipeOf: (options: Steps["recipeOptions"]) => Recipe,
  { modules, make, recordedName = (_, name) => name }: RecordedFp8Options,
): void {
  const golden = readGolden(group);
  const steps = golden.cases.filter(({ module }) => modules.includes(module)) as unknown as readonly Steps[];
  const cases = steps.map((of) => [of.id, of] as const);
  const setUp = (of: Steps) => {
    const module = make(of, optionsOf(of));
    const variables = initialVariables(of, module, argumentsOf(of, { x: golden.tensor(of, "step0/in/x") }));
    return { module, variables };
  };
  const inFp8 = <R>(of: Steps, f: () => R): R =>
    fp8Autocast({ enabled: true, fp8Recipe: recipeOf(of.recipeOptions) }, f);

  describe(`${group}, recorded`, () => {
    test.each(cases)("%s: initial variables and metas", (_, of) =>
      inFp8(of, () => expectInitialVariables(golden, of, setUp(of).variables)),
    );

    onEachDevice((device) => {
      test.each(cases)("%s: values, gradients and metas of every step", (_, of) =>
        inFp8(of, () => {
          const { module, variables } = setUp(of);
          const params = recordedParameters(golden, of, variables);
          const { values, metas: metaError } = limitsOn(device, of);
          let metas = variables.fp8_metas;
          for (let t = 0; t < of.steps; t++) {
            const after = step(golden, of, t, module, params, metas);
            const recorded = stepOf(golden, of, t);
            expectRecordedStep(recorded.golden, recorded.of, after, values);
            for (const { path, leaf } of tree.leavesWithPath(after.metas)) {
              const name = recordedName(of, path.join("/"));
              const limit = { n: metaError, x: metaError };
              const found = findDifference(leaf, recorded.golden.tensor(recorded.of, `metasAfter/${name}`), limit);
              if (found) expect.fail(`${of.id} step ${t}: ${path.join("/")}: ${found}`);
              expect(valuesOf(leaf).values.length).toBe(
                path.at(-1)!.endsWith("scale") ? 1 : of.recipeOptions.amaxHistoryLen,
              );
            }
            metas = after.metas;
          }
        }),
      );
    });
  });
}

/** Gradients are recorded for the first and the last step only. */
function expectRecordedStep(golden: Golden, of: GoldenCase, replay: Replay, limitFor: LimitFor): void {
  const hasGradients = Object.keys(golden.tensors(of, "grad/")).length > 0;
  expectRecorded(golden, of, hasGradients ? replay : { ...replay, gradients: {} }, limitFor, { castGradients: true });
}
