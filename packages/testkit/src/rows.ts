/** Which row of the table of limits judges a result of an op: what its definition says in `judgedAs`. */
import type { DType } from "@te/tensor";
import type { OpDefinition } from "@te/tensor/op";
import { type Limit, limitOf } from "./tolerance.js";

/** The limit for an output of an op. */
export function limitOfOutput(op: OpDefinition, output: string, dtype: DType): Limit {
  const rows = op.judgedAs?.values;
  return limitOf((typeof rows === "string" ? rows : rows?.[output]) ?? "op", dtype);
}

/** The limit for the gradient of an input of an op; without a kernel of its own it is composed of several ops. */
export function limitOfGradient(op: OpDefinition, input: string, dtype: DType): Limit {
  return limitOf(op.judgedAs?.gradients?.[input] ?? "composed", dtype);
}
