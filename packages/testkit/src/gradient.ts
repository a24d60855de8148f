/** The gradient of a case as a function, for backends to run and for the oracle to judge. */
import { type Aval, type DType, type Tensor, vjp } from "@te/tensor";
import {
  type Case,
  fromFloat64,
  type HostArray,
  inferShapes,
  inputNames,
  isFloat,
  isFloat8,
  type OpDefinition,
  sizeOf,
} from "@te/tensor/op";
import { generator, normal, seedOf } from "./fill.js";
import { callOp } from "./oracle.js";

/** float8 values are results of rounding: nothing flows through them. */
const isDifferentiable = (dtype: DType): boolean => isFloat(dtype) && !isFloat8(dtype);

export interface GradientOfCase {
  /** The float inputs, in wire order. */
  readonly wrt: readonly string[];
  /** Positions of the outputs that cotangents are given for. */
  readonly outputs: readonly number[];
  /** What those outputs look like, and so the cotangents. */
  readonly avals: readonly Aval[];
  /** Takes the cotangents, then all inputs of the case; gives the gradients of `wrt`. */
  readonly pull: (...args: Tensor[]) => Tensor[];
  /** Takes all inputs of the case; gives `outputs`. */
  readonly forward: (...inputs: Tensor[]) => Tensor[];
}

/** Names of a case's inputs in wire order. */
export const orderedNames = (op: OpDefinition, of: Case): string[] =>
  inputNames(op, Object.keys(of.inputs).length).filter((name) => name in of.inputs);

/** What the shape rule says of a case's outputs. */
export function outputAvals(op: OpDefinition, of: Case): Aval[] {
  const inputs = inputNames(op, Object.keys(of.inputs).length).map((name) => of.inputs[name]);
  return inferShapes(op, inputs, { ...op.params, ...of.params });
}

/**
 * The gradient of a case, or undefined when it has none: no float input, no float result, no derivative, or switched off.
 * @param only take cotangents for this output alone, as in a program that uses no other
 * @param call another way to call the op
 */
export function gradientOfCase(
  op: OpDefinition,
  of: Case,
  only?: number,
  call: typeof callOp = callOp,
): GradientOfCase | undefined {
  if (of.gradient === false || (!op.vjp && !op.reference)) return undefined;
  const names = orderedNames(op, of);
  const wrt = names.filter((name) => isDifferentiable(of.inputs[name]!.dtype));
  const all = outputAvals(op, of);
  const saved = op.saved ?? [];
  const isResult = ({ dtype }: Aval, i: number): boolean => isDifferentiable(dtype) && !saved.includes(op.outputs[i]!);
  const outputs = all.flatMap((out, i) => (isResult(out, i) && (only ?? i) === i ? [i] : []));
  if (!wrt.length || !outputs.length) return undefined;
  const forward = (...inputs: Tensor[]): Tensor[] => {
    const results = call(op, Object.fromEntries(names.map((name, i) => [name, inputs[i]!])), of.params);
    for (const [i, result] of results.entries()) if (!outputs.includes(i)) result.dispose();
    return outputs.map((i) => results[i]!);
  };
  const pull = (...args: Tensor[]): Tensor[] => {
    const seeds = args.slice(0, outputs.length);
    const inputs = args.slice(outputs.length);
    const variable = wrt.map((name) => inputs[names.indexOf(name)]!);
    const f = (...replaced: Tensor[]) =>
      forward(...names.map((name, i) => (wrt.includes(name) ? replaced[wrt.indexOf(name)]! : inputs[i]!)));
    const [results, pullback] = vjp(f, ...variable);
    const gradients = pullback(seeds);
    for (const result of results) result.dispose();
    return gradients;
  };
  return { wrt, outputs, avals: outputs.map((i) => all[i]!), pull, forward };
}

/** Random normal cotangents for some outputs: never constant, which would hide errors that cancel in a sum. */
export function drawCotangents(avals: readonly Aval[], seed: string): HostArray[] {
  return avals.map(({ shape, dtype }, i) => {
    const uniform = generator(seedOf(`${seed}/cotangent ${i}`));
    const values = Float64Array.from({ length: sizeOf(shape) }, () => normal(uniform));
    return { shape, dtype, data: fromFloat64(dtype, values) };
  });
}
