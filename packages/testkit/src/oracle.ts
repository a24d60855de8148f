/** The reference evaluator as a judge: it runs what a backend runs, on the same inputs, in float64 where wanted. */
import { makeProgram, type Tensor } from "@te/tensor";
import { evaluateProgram, expand, fallbackBackend, type Program } from "@te/tensor/backend";
import {
  applyOp,
  definedOps,
  type HostArray,
  inputNames,
  isFloat,
  isFloat8,
  type OpDefinition,
  type Params,
  toFloat64,
} from "@te/tensor/op";
import { toTensor } from "./fill.js";

export interface OracleOptions {
  /** Keep float32, bfloat16 and float16 values as unrounded float64 (default); false rounds like a backend does. */
  readonly wide?: boolean;
}

/** Calls an op with its inputs by name; names that are absent are optional inputs left out. Gives outputs in order. */
export function callOp(op: OpDefinition, inputs: Readonly<Record<string, Tensor>>, params: Params): Tensor[] {
  const ordered = inputNames(op, Object.keys(inputs).length).map((name) => inputs[name]);
  return applyOp(op, ordered, { ...op.params, ...params });
}

const isWide = ({ dtype }: HostArray): boolean => isFloat(dtype) && !isFloat8(dtype);

/** The same values, as the wide evaluator holds them. */
export const widenArray = (array: HostArray): HostArray =>
  isWide(array) ? { ...array, data: toFloat64(array.dtype, array.data) } : array;

const hostOf = (t: Tensor): HostArray => ({ shape: t.shape, dtype: t.dtype, data: t.dataSync() });

/** Runs a program on the reference evaluator. */
export function runProgram(
  program: Program,
  inputs: readonly HostArray[],
  { wide = true }: OracleOptions = {},
): HostArray[] {
  const primitives = expand(program, fallbackBackend().supports);
  const given = [...inputs, ...primitives.constants.map((constant) => hostOf(constant.tensor))];
  return evaluateProgram(primitives, wide ? given.map(widenArray) : given, { wide });
}

/** What f, a function of tensors that returns a list of tensors, gives on the reference evaluator. */
export function oracle(
  f: (...inputs: Tensor[]) => readonly Tensor[],
  inputs: readonly HostArray[],
  options: OracleOptions = {},
): HostArray[] {
  const tensors = inputs.map(toTensor);
  try {
    return runProgram(makeProgram(f)(...tensors), inputs, options);
  } finally {
    for (const t of tensors) t.dispose();
  }
}

/** An op by name, or an error that says what is known. */
export function findOp(name: string): OpDefinition {
  const found = definedOps().get(name);
  if (!found) throw new Error(`there is no op ${name}; defined: ${[...definedOps().keys()].join(", ")}`);
  return found;
}
