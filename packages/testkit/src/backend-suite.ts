/** Every op's cases on a backend, judged by the reference evaluator in float64. */
import {
  type Case,
  CaseBuilder,
  currentBackend,
  definedOps,
  type HostArray,
  jit,
  memory,
  type OpDefinition,
  setDevice,
  type Tensor,
} from "@te/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findBitDifference, findCodeDifference, findDifference, findGradientDifference, isExact } from "./compare.js";
import { fillCase, toTensor } from "./fill.js";
import { drawCotangents, type GradientOfCase, gradientOfCase, orderedNames, outputAvals } from "./gradient.js";
import { callOp, findOp, oracle } from "./oracle.js";
import { limitOfGradient, limitOfOutput } from "./rows.js";
import { explain } from "./support.js";
import { forSize } from "./tolerance.js";

export interface BackendSuiteOptions {
  /** Names of the ops to test; all that are defined by default. */
  readonly ops?: readonly string[];
}

/** Ops that mark a place in a trace. Programs see through them, so that there is nothing to run. */
const MARKS = new Set(["identity", "stop_gradient", "checkpoint_name", "barrier"]);

/** The cases of an op that are small enough to judge: benchmarks are for timing. */
export const casesOf = (op: OpDefinition): Case[] => (op.cases?.(new CaseBuilder()) ?? []).filter((c) => !c.bench);

/** Every op defined so far that can be run, by name. */
export const judgedOps = (): string[] => [...definedOps().keys()].filter((name) => !MARKS.has(name));

/**
 * Declares the tests of a backend, for each op and case: values and gradients against the oracle, jit against eager bit
 * for bit, and memory returned. An op without a kernel on this backend runs as its reference; its titles say so.
 */
export function testBackend(name: string, { ops = judgedOps() }: BackendSuiteOptions = {}): void {
  describe(`ops on ${name}`, () => {
    let before: string;
    beforeAll(() => {
      before = currentBackend().name;
      setDevice(name);
    });
    afterAll(() => setDevice(before));

    for (const op of ops.map(findOp)) {
      describe(op.name, () => {
        const cases = casesOf(op);
        if (!cases.length) test("has cases", () => expect.fail(`${op.name} must have cases, or nothing tests it`));
        for (const of of cases) test(titleOf(name, op, of), () => runCase(op, of));
      });
    }
  });
}

function titleOf(backend: string, op: OpDefinition, of: Case): string {
  const why = explain(backend, op, of);
  return why === undefined ? of.name : `${of.name} (declined → reference: ${why})`;
}

/** Runs one case on the current device and throws on the first thing that is wrong. */
export async function runCase(op: OpDefinition, of: Case): Promise<void> {
  const names = orderedNames(op, of);
  const byName = fillCase(op.name, of);
  const arrays = names.map((name) => byName[name]!);
  const live = memory().live;
  const inputs = arrays.map(toTensor);
  const used: Tensor[] = [...inputs];
  try {
    used.push(...(await checkValues(op, of, names, arrays, inputs)));
    const gradient = gradientOfCase(op, of);
    if (gradient) used.push(...(await checkGradient(op, of, gradient, arrays, inputs)));
    if (gradient && gradient.outputs.length > 1) {
      for (const only of gradient.outputs) {
        used.push(...(await checkGradient(op, of, gradientOfCase(op, of, only)!, arrays, inputs)));
      }
    }
  } finally {
    for (const t of used) t.dispose();
  }
  const left = memory().live - live;
  if (left > 0) throw new Error(`${left} bytes are still held after every tensor was disposed`);
}

async function checkValues(
  op: OpDefinition,
  of: Case,
  names: readonly string[],
  arrays: readonly HostArray[],
  inputs: readonly Tensor[],
): Promise<Tensor[]> {
  const call = (...given: Tensor[]): Tensor[] =>
    callOp(op, Object.fromEntries(names.map((name, i) => [name, given[i]!])), of.params);
  const eager = call(...inputs);
  const compiled = jit(call)(...inputs);
  const results = await Promise.all(eager.map(hostOf));
  const wide = oracle(call, arrays);
  const rounded = results.some(({ dtype }) => isExact(dtype)) ? oracle(call, arrays, { wide: false }) : [];
  const avals = outputAvals(op, of);
  expect(results.length, "number of outputs").toBe(op.outputs.length);
  results.forEach((result, i) => {
    const output = op.outputs[i]!;
    const reference = { ...wide[i]!, ...avals[i]! };
    throwIf(output, differenceOf(op.name, output, of, result, reference, rounded[i]));
    throwIf(`${output} of jit against eager`, findBitDifference(compiled[i]!, eager[i]!));
  });
  return [...eager, ...compiled];
}

function differenceOf(
  op: string,
  output: string,
  of: Case,
  result: HostArray,
  wide: HostArray,
  rounded: HostArray | undefined,
): string | undefined {
  if (isExact(result.dtype)) return findCodeDifference(result, rounded!, of.tolerance?.n ?? 0);
  return findDifference(
    result,
    wide,
    of.tolerance ?? forSize(limitOfOutput(op, output, result.dtype), result.data.length),
  );
}

async function checkGradient(
  op: OpDefinition,
  of: Case,
  { pull, wrt, avals }: GradientOfCase,
  arrays: readonly HostArray[],
  inputs: readonly Tensor[],
): Promise<Tensor[]> {
  const cotangents = drawCotangents(avals, `${op.name}/${of.name}`);
  const seeds = cotangents.map(toTensor);
  const compiled = jit(pull)(...seeds, ...inputs);
  const eager = pull(...seeds, ...inputs);
  const reference = oracle(pull, [...cotangents, ...arrays]);
  expect(compiled.length, "number of gradients").toBe(wrt.length);
  for (const [i, name] of wrt.entries()) {
    const result = await hostOf(compiled[i]!);
    const expected = { ...reference[i]!, shape: of.inputs[name]!.shape, dtype: of.inputs[name]!.dtype };
    const limit = of.tolerance ?? forSize(limitOfGradient(op.name, name, result.dtype), result.data.length);
    throwIf(`gradient of ${name}`, findGradientDifference(result, expected, limit));
    throwIf(`gradient of ${name} by jit against eager`, findBitDifference(compiled[i]!, eager[i]!));
  }
  return [...seeds, ...compiled, ...eager];
}

const hostOf = async (t: Tensor): Promise<HostArray> => ({ shape: t.shape, dtype: t.dtype, data: await t.data() });

function throwIf(what: string, found: string | undefined): void {
  if (found) throw new Error(`${what}: ${found}`);
}
