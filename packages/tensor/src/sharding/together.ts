/** Calls that devices compute together: each has its part, and they exchange on the way. */
import { fail } from "../errors.js";
import { inputNames, nameInputs, type Params } from "../op.js";
import { completeParams } from "../op-check.js";
import type { Tensor } from "../tensor.js";
import type { Reduction } from "./rule.js";
import { checkParts, type Shard } from "./shard.js";

/** What a device gives the others along a factor, and how they exchange it. */
export type Sent = { readonly factor: string; readonly x: Tensor } & (
  | { readonly kind: "all_gather"; readonly dim: number }
  | { readonly kind: "reduce_scatter"; readonly dim: number; readonly reduction: Reduction }
  /** The x of place `sources[i]` goes to place `targets[i]`. */
  | { readonly kind: "ppermute"; readonly sources: readonly number[]; readonly targets: readonly number[] }
);

/** The course of one device: it yields what it gives, and gets what comes for it. */
export type Together<R> = Generator<Sent, R, Tensor>;

/** The course of a shard, from its parts of the inputs in wire order to those of the outputs. */
export function* runShardTogether(
  shard: Shard,
  inputs: readonly (Tensor | undefined)[],
  params?: Params,
): Together<Tensor[]> {
  const { op, rule } = shard;
  if (!op.together) fail("state", op.name, "a rule with a together factor needs an op with `together`", op.name);
  checkParts(shard, inputNames(op, inputs.length), inputs, rule.inputs);
  const named = yield* op.together(nameInputs(op, inputs), completeParams(op, params), shard);
  const outputs = op.outputs.map((name) => named[name]!);
  checkParts(shard, op.outputs, outputs, rule.outputs);
  return outputs;
}
