/**
 * The updates of FP8 state, one for each quantized tensor, as nodes with many operands, which are one launch for about fifty:
 *
 *     delayed_scaling_update(amax, scale, history), … → joined_delayed_scaling_update(…)
 *
 * to the bit.
 */
import { joinedNode, joinNodes, type Pair, type Pass, type Program, type ProgramNode } from "@te/tensor/backend";
import type { ParamValue } from "@te/tensor/op";

const each = (members: readonly ProgramNode[], name: string): ParamValue =>
  members.map(({ params }) => params[name]) as ParamValue;

function joinScalings(members: readonly ProgramNode[], program: Program): ProgramNode {
  const params = Object.fromEntries(["dtype", "margin", "amaxComputeAlgo"].map((name) => [name, each(members, name)]));
  const inPlace = members.flatMap((_, k): Pair[] => [
    [3 * k + 1, 2 * k],
    [3 * k + 2, 2 * k + 1],
  ]);
  const node = {
    inputs: members.flatMap(({ inputs }) => inputs),
    outputs: members.flatMap(({ outputs }) => outputs),
    params,
  };
  return joinedNode(program, "joined_delayed_scaling_update", node, inPlace);
}

/** Joins the updates of FP8 state. */
export const joinScalingUpdates: Pass = {
  name: "join scaling updates",
  run: (program) =>
    joinNodes(
      program,
      ({ op }) => (op.name === "delayed_scaling_update" ? "delayed_scaling_update" : undefined),
      joinScalings,
    ),
};
