/** checkpoint: values are computed again in the backward pass instead of kept, except those that a policy keeps. */
import { fail } from "../errors.js";
import { expectObject } from "../expect.js";
import type { Params } from "../op.js";
import { checkpointNameOp, stopGradientOp } from "../ops/mark.js";
import { checkFunction, withDefaults } from "../options.js";
import type { Tensor } from "../tensor.js";
import { currentTrace, type TraceNode } from "../trace.js";
import { flatten, unflatten } from "../tree.js";
import { refusePromise } from "./run-traced.js";
import type { AnyFunction } from "./types.js";

/** Decides which values a checkpointed function keeps instead of recomputing them. */
export type CheckpointPolicy = (node: CheckpointNode) => boolean;

/** What a policy sees of an operation. */
export interface CheckpointNode {
  readonly op: string;
  /** The name that {@link checkpointName} gave, on the node that gives it; undefined on all others. */
  readonly name: string | undefined;
  readonly params: Params;
}

const isNode = (op: string, without: readonly string[] = []) =>
  ((node) =>
    expectNode(node).op === op &&
    without.every((param) => (node.params[param] as unknown[]).length === 0)) as CheckpointPolicy;

function expectNode(node: CheckpointNode): CheckpointNode {
  expectObject("checkpointPolicies", { node });
  expectObject("checkpointPolicies", { "node.params": node.params });
  return node;
}

/** The policies of {@link checkpoint}; @te/layers has those that know its products. */
export const checkpointPolicies = {
  /** Recompute everything (the default). */
  nothingSaveable: (() => false) as CheckpointPolicy,
  /** Keep everything: memory as without checkpoint. */
  everythingSaveable: (() => true) as CheckpointPolicy,
  /** Keep the results of matrix products: every `dot`. */
  dotsSaveable: isNode("dot"),
  /** Keep the results of those matrix products that have no batch axes. */
  dotsWithNoBatchDimsSaveable: isNode("dot", ["lhsBatch", "rhsBatch"]),
  /** Keep the values that {@link checkpointName} marked with one of these names, and nothing else. */
  saveOnlyTheseNames:
    (...names: string[]): CheckpointPolicy =>
    (node) => {
      const { name } = expectNode(node);
      return name !== undefined && names.includes(name);
    },
  /** Keep the values that {@link checkpointName} marked, except those with one of these names. */
  saveAnyNamesButThese:
    (...names: string[]): CheckpointPolicy =>
    (node) => {
      const { name } = expectNode(node);
      return name !== undefined && !names.includes(name);
    },
  /** Keep everything but the values marked with one of these names. */
  saveAnythingExceptTheseNames:
    (...names: string[]): CheckpointPolicy =>
    (node) => {
      const { name } = expectNode(node);
      return name === undefined || !names.includes(name);
    },
} as const;

/** Options of {@link checkpoint}. */
export interface CheckpointOptions {
  readonly policy?: CheckpointPolicy;
}

/**
 * f with less memory in training: its intermediate values are not kept for the backward pass but computed again there.
 * Results and gradients are the same, bit for bit.
 */
export function checkpoint<F extends AnyFunction>(f: F, options: CheckpointOptions = {}): F {
  const { policy } = withDefaults("checkpoint", options, { policy: checkpointPolicies.nothingSaveable });
  checkFunction("checkpoint", f);
  if (typeof policy !== "function")
    fail("option", "checkpoint", "policy must be a function", policy, "Take one of checkpointPolicies.");
  const wrapped = (...args: unknown[]): unknown => {
    const trace = currentTrace();
    if (!trace) return f(...args);
    const start = trace.nodes.length;
    const returned = f(...args);
    refusePromise("checkpoint", returned);
    const [leaves, definition] = flatten(returned);
    const saves = (node: TraceNode): boolean =>
      policy({
        op: node.op.name,
        name: node.op === checkpointNameOp.definition ? (node.params.name as string) : undefined,
        params: node.params,
      });
    const outputs = trace.recordRegion(leaves as Tensor[], {
      start,
      kind: "recompute",
      args: [],
      residuals: [],
      saves,
    });
    return unflatten(definition, outputs);
  };
  return wrapped as F;
}

/** Marks a value with a name that a checkpoint policy can keep. The value is unchanged. */
export const checkpointName = (x: Tensor, name: string): Tensor => checkpointNameOp({ x }, { name }).y;

/** x as a constant: no gradient flows through it. */
export const stopGradient = (x: Tensor): Tensor => stopGradientOp({ x }).y;
