/** The reference evaluator: programs in plain TypeScript, node by node, in their own dtypes or in float64. */
import { type Aval, formatAval, sameAval, sizeOf } from "../aval.js";
import { allocate, type DType, isFloat, isFloat8 } from "../dtype.js";
import { fail } from "../errors.js";
import { expectArray } from "../expect.js";
import { type HostArray, nameInputs, nameOutputs } from "../op.js";
import { expectProgram, type Program } from "../program/program.js";

/** Options of {@link evaluateProgram}. */
export interface EvaluateOptions {
  /**
   * Keep float32, bfloat16 and float16 values as unrounded float64: the oracle that kernels are judged by and the
   * function that finite differences see. float8 values round as always.
   */
  readonly wide?: boolean;
}

const isWide = (dtype: DType): boolean => isFloat(dtype) && !isFloat8(dtype);

export function hostArray({ shape, dtype }: Aval, { wide = false }: EvaluateOptions = {}): HostArray {
  const size = sizeOf(shape);
  return { shape, dtype, data: wide && isWide(dtype) ? new Float64Array(size) : allocate(dtype, size) };
}

/**
 * Runs a program of primitives in plain TypeScript. `given` are its inputs, then its constants. Intermediate values are
 * dropped after their last use.
 */
export function evaluateProgram(
  program: Program,
  given: readonly HostArray[],
  options: EvaluateOptions = {},
): HostArray[] {
  expectProgram("evaluateProgram", program);
  expectArray("evaluateProgram", "arrays", { given });
  program.given.forEach((id, i) => {
    if (!given[i] || !sameAval(given[i], program.values[id]!))
      fail("shape", "evaluateProgram", `input ${i} must be ${formatAval(program.values[id]!)}`, given[i] ?? "nothing");
  });
  const values: (HostArray | undefined)[] = new Array(program.values.length);
  program.given.forEach((id, i) => {
    values[id] = given[i];
  });
  const lastUse = new Map<number, number>();
  program.nodes.forEach((node, i) => {
    for (const id of node.inputs) lastUse.set(id, i);
  });
  for (const id of program.outputs) lastUse.set(id, Number.POSITIVE_INFINITY);
  program.nodes.forEach((node, i) => {
    if (!node.op.evaluate)
      fail("unsupported", node.op.name, "the evaluator runs primitives only; expand the program first");
    const inputs = nameInputs(
      node.op,
      node.inputs.map((id) => (id < 0 ? undefined : values[id])),
    );
    let outputs: HostArray[];
    if (node.op.view) {
      outputs = [{ ...program.values[node.outputs[0]!]!, data: values[node.inputs[0]!]!.data }];
    } else {
      outputs = node.outputs.map((id) => hostArray(program.values[id]!, options));
      node.op.evaluate(inputs, node.params, nameOutputs(node.op, outputs));
    }
    node.outputs.forEach((id, k) => {
      values[id] = outputs[k];
    });
    for (const id of node.inputs) if (lastUse.get(id) === i) values[id] = undefined;
  });
  return program.outputs.map((id) => values[id]!);
}
