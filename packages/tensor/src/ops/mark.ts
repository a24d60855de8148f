/** Ops that leave the value alone and mark a place: a fresh name, an end of differentiation, a name for policies. */
import { defineOp } from "../define-op.js";
import type { HostArray, Op, OpSpec } from "../op.js";
import { elementwiseRule } from "../sharding/rule.js";

type Marks = Pick<OpSpec<"x", "y", object, never>, "vjp" | "moves" | "barrier" | "transparent" | "stopsGradient">;

const passesGradients: Marks = { vjp: ({ grads }) => ({ x: grads.y }), moves: "nowhere" };
const isTransparent: Marks = { ...passesGradients, transparent: true };

function mark<P extends object>(name: string, params: P, marks: Marks = isTransparent): Op<"x", "y", P, never> {
  return defineOp(name, {
    inputs: ["x"],
    outputs: ["y"],
    params,
    shape: ({ x }) => ({ y: x }),
    sharding: elementwiseRule,
    evaluate: ({ x }, _, { y }) => copyInto(x, y),
    view: true,
    ...marks,
  });
}

function copyInto(from: HostArray, to: HostArray): void {
  to.data.set(from.data as never);
}

export const identityOp = mark("identity", {});
export const stopGradientOp = mark("stop_gradient", {}, { vjp: () => ({}), transparent: true, stopsGradient: true });
export const checkpointNameOp = mark("checkpoint_name", { name: "" });
/** Keeps a recomputation apart from its original. No two barriers of a program have the same id. */
export const barrierOp = mark("barrier", { id: 0 }, { ...passesGradients, barrier: true });
