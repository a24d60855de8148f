/** Runs recorded calls of modules again: variables from the recorded key, outputs and gradients on the device in force. */
import { createHash } from "node:crypto";
import type { Module, Variables, VariableTree } from "@te/layers";
import { currentBackend, random, setDevice, Tensor, tree, valueAndGrad } from "@te/tensor";
import { formatAval } from "@te/tensor/op";
import { expect } from "vitest";
import { findDifference, findGradientDifference, valuesOf } from "./compare.js";
import type { Golden, GoldenCase } from "./goldens.js";
import type { Limit } from "./tolerance.js";

/** The facts recorded of an initial value. */
interface InitialFacts {
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly axes: readonly (string | null)[] | null;
  readonly sha256: string;
}

type Nested = Record<string, unknown>;

/** Constructor options as this library spells them. */
export function optionsOf({ options }: GoldenCase): Record<string, unknown> {
  const { activationParams, layerType, ...rest } = options as Record<string, any>;
  const { limit, alpha, glu_linear_offset: gluLinearOffset } = activationParams ?? {};
  return {
    ...rest,
    ...(activationParams && { activationParams: { limit, alpha, gluLinearOffset } }),
    ...(layerType && { layerType: layerType.toLowerCase() }),
  };
}

/** The recorded call's arguments, with these inputs. A trailing boolean is the `bidirectional` of relative positions. */
export function argumentsOf(of: GoldenCase, inputs: Readonly<Record<string, Tensor>>): unknown[] {
  const args = of.callArgs.map((arg) => {
    if (typeof arg === "string") return inputs[arg];
    return typeof arg === "boolean" ? { bidirectional: arg } : arg;
  });
  return Object.keys(of.callKw).length ? [...args, { ...of.callKw }] : args;
}

/** What `init` makes of the recorded key on the device in force. */
export const deviceVariables = (of: GoldenCase, module: Module, args: unknown[]): Variables =>
  module.init(random.key((of.initKey as { seed: number }).seed), ...args);

/** The same by the reference, whose bits are the same on every machine. */
export function initialVariables(of: GoldenCase, module: Module, args: unknown[]): Variables {
  const before = currentBackend().name;
  setDevice("reference");
  try {
    return deviceVariables(of, module, args);
  } finally {
    setDevice(before);
  }
}

const at = (root: unknown, path: readonly string[]): unknown =>
  path.reduce<unknown>((node, part) => (node as Nested | undefined)?.[part], root);

/**
 * Expects the initial variables to be those recorded: the same names, shapes, dtypes and logical axes, and the same bits,
 * or, where the last bits depend on fused multiply-adds, values at most 4 units in the last place away: 2 of the draw, and
 * one of each scaling after it.
 */
export function expectInitialVariables(golden: Golden, of: GoldenCase, variables: Variables): void {
  const facts = (of.init ?? {}) as Record<string, InitialFacts>;
  const names = Object.keys(variables)
    .filter((collection) => collection !== "params_axes")
    .flatMap((collection) =>
      tree.leavesWithPath(variables[collection]).map(({ path }) => `${collection}/${path.join("/")}`),
    );
  expect(names.sort(), "names").toEqual(Object.keys(facts).sort());
  for (const [name, { shape, dtype, axes, sha256 }] of Object.entries(facts)) {
    const value = at(variables, name.split("/")) as Tensor;
    expect(formatAval(value), name).toBe(formatAval({ shape, dtype: value.dtype }));
    expect(value.dtype, name).toBe(dtype);
    if (name.startsWith("params/"))
      expect(at(variables.params_axes, name.split("/").slice(1)), `axes of ${name}`).toEqual(axes);
    if (digestOf(value) !== sha256) expectWithinUlps(name, value, golden.tensor(of, name), 4);
  }
}

/** The first 16 hex digits of the SHA-256 of a tensor's bytes. */
function digestOf(value: Tensor): string {
  const data = value.dataSync();
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return createHash("sha256").update(bytes).digest("hex").slice(0, 16);
}

/** Expects every element to be at most `ulps` units in the last place of its dtype away from the recorded one. */
function expectWithinUlps(name: string, actual: Tensor, recorded: Tensor, ulps: number): void {
  const [a, r] = [valuesOf(actual).values, valuesOf(recorded).values];
  const mantissa = { float32: 23, float16: 10, bfloat16: 7 }[actual.dtype as "float32"];
  for (let i = 0; i < r.length; i++) {
    const ulp = 2 ** (Math.floor(Math.log2(Math.abs(r[i]!))) - mantissa);
    if (Math.abs(a[i]! - r[i]!) > ulps * ulp)
      expect.fail(`${name}: element ${i} must be ${r[i]} within ${ulps} ulp, got ${a[i]}`);
  }
}

/** The initial parameters with those replaced that were changed before the recording, or that differ in the last bits. */
export function recordedParameters(golden: Golden, of: GoldenCase, initial: Variables): VariableTree {
  const stored = golden.tensors(of, "params/");
  const leaves = tree.leavesWithPath(initial.params).map(({ path, leaf }) => stored[path.join("/")] ?? leaf);
  return tree.unflatten(tree.flatten(initial.params)[1], leaves) as VariableTree;
}

export interface Replay {
  readonly outputs: readonly Tensor[];
  /** By the recorded name: params/<path> or in/<name>. */
  readonly gradients: Readonly<Record<string, Tensor>>;
}

const outputsOf = (result: unknown): Tensor[] =>
  (Array.isArray(result) ? result : [result]).filter((t) => t instanceof Tensor);

/** Σ float32(out) · float32(dy) over all outputs. */
export function recordedLoss(outputs: readonly Tensor[], dys: Readonly<Record<string, Tensor>>): Tensor {
  const terms = outputs.map((out, i) => out.astype("float32").mul(dys[i]!.astype("float32")).sum());
  return terms.reduce((a, b) => a.add(b));
}

/** The outputs of a recorded call, and the gradients of the recorded loss in parameters and inputs. */
export function replay(golden: Golden, of: GoldenCase, module: Module, params: VariableTree): Replay {
  const inputs = golden.tensors(of, "in/");
  const dys = golden.tensors(of, "dy/");
  const loss = (p: VariableTree, given: Record<string, Tensor>) => {
    const outputs = outputsOf(module.apply({ params: p }, ...argumentsOf(of, given)));
    return [recordedLoss(outputs, dys), outputs] as const;
  };
  const [[, outputs], [dparams, dinputs]] = valueAndGrad(loss, { argnums: [0, 1], hasAux: true })(params, inputs);
  const named = [
    ...tree.leavesWithPath(dparams).map(({ path, leaf }) => [`params/${path.join("/")}`, leaf]),
    ...Object.keys(golden.tensors(of, "grad/in/")).map((name) => [`in/${name}`, dinputs[name]]),
  ];
  return { outputs, gradients: Object.fromEntries(named) };
}

/** Limits for an output or gradient, by its recorded name and the dtype that the call computed in. */
export type LimitFor = (name: string, dtype: Tensor["dtype"]) => Limit;

/**
 * Expects the outputs and gradients of a recorded call, each within its limit. With `castGradients` recorded gradients
 * may have another dtype: the original gives those of FP8 products in the dtype of the activations.
 */
export function expectRecorded(
  golden: Golden,
  of: GoldenCase,
  { outputs, gradients }: Replay,
  limitFor: LimitFor,
  { castGradients = false } = {},
): void {
  const recorded = golden.tensors(of, "out/");
  expect(outputs.length, "number of outputs").toBe(Object.keys(recorded).length);
  outputs.forEach((out, i) => {
    const found = findDifference(out, recorded[i]!, limitFor(`out/${i}`, out.dtype));
    if (found) expect.fail(`${of.id}: out/${i}: ${found}`);
  });
  const wanted = golden.tensors(of, "grad/");
  expect(Object.keys(gradients).sort(), "gradients").toEqual(Object.keys(wanted).sort());
  for (const [name, reference] of Object.entries(wanted)) {
    const actual = firstRows(gradients[name]!, reference);
    const expected = castGradients ? { ...valuesOf(reference), dtype: actual.dtype } : reference;
    const found = findGradientDifference(actual, expected, limitFor(name, outputs[0]!.dtype));
    if (found) expect.fail(`${of.id}: gradient of ${name}: ${found}`);
  }
}

/** Of large kernels only the first rows of the gradient are recorded. */
export function firstRows(actual: Tensor, recorded: Tensor): Tensor {
  const rows = recorded.shape[0];
  if (rows === undefined || !(actual.shape[0]! > rows)) return actual;
  return actual.slice(
    actual.shape.map(() => 0),
    [rows, ...actual.shape.slice(1)],
  );
}
