/** Ops that leave the value alone and mark a place: a fresh name, an end of differentiation, a name for policies. */
import { defineOp, type HostArray, type Op } from "../op.js";
import { rule } from "../rule.js";

function mark<P extends object>(name: string, params: P, differentiable = true): Op<"x", "y", P, never> {
  return defineOp(name, {
    inputs: ["x"],
    outputs: ["y"],
    params,
    shape: ({ x }) => ({ y: x }),
    sharding: rule("... -> ..."),
    evaluate: ({ x }, _, { y }) => copyInto(x, y),
    ...(differentiable && { vjp: ({ grads }) => ({ x: grads.y }), moves: "nowhere" }),
    ...(!differentiable && { vjp: () => ({}) }),
    inPlace: [["x", "y"]],
  });
}

function copyInto(from: HostArray, to: HostArray): void {
  to.data.set(from.data as never);
}

export const identityOp = mark("identity", {});
export const stopGradientOp = mark("stop_gradient", {}, false);
/** Keeps a recomputation apart from its original while equal nodes are merged. */
export const barrierOp = mark("barrier", { id: 0 });
export const checkpointNameOp = mark("checkpoint_name", { name: "" });
