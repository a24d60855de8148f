/**
 * Tracing: while a trace is open every op call is recorded as a node; otherwise it runs at once (apply-op.ts). A trace is opened and closed within one synchronous call, so it never leaks over an await.
 */

import { asTeError, isStackOverflow } from "./as-error.js";
import { type Aval, freezeShape } from "./aval.js";
import { fail } from "./errors.js";
import { expectFunction } from "./expect.js";
import { inferShapes, type OpDefinition, type Params } from "./op.js";
import { Storage } from "./storage.js";
import { Tensor } from "./tensor.js";
import type { NextState } from "./transforms/state.js";

export interface TraceNode {
  readonly op: OpDefinition;
  readonly inputs: readonly (Tensor | undefined)[];
  readonly params: Params;
  readonly outputs: readonly Tensor[];
  /** Set on the copies of nodes that a checkpointed function runs again for its backward pass. */
  readonly recomputed?: boolean;
  /** Set on the last node of a region with a gradient of its own: customVjp and checkpoint. */
  readonly region?: Region;
}

/**
 * A stretch of nodes [start, index of its own node) that differentiates as one. The node that carries it has the results
 * of the stretch as inputs and stands for them.
 */
export interface Region {
  readonly start: number;
  /** Tensors from before the region that `pullback` gives cotangents for. */
  readonly args: readonly Tensor[];
  /** Tensors from inside that the pullback needs. */
  readonly residuals: readonly Tensor[];
  /**
   * "custom": `pullback` gives the cotangents of args from one per result. "saved": the same, and cotangents of results
   * that nobody used stay undefined. "recompute": run the stretch again and differentiate that, except for values that
   * `saves` keeps.
   */
  readonly kind: "custom" | "saved" | "recompute";
  /** Cotangents of args; undefined is zero. */
  readonly pullback?: (
    residuals: readonly Tensor[],
    grads: readonly (Tensor | undefined)[],
  ) => readonly (Tensor | undefined)[];
  readonly saves?: (node: TraceNode) => boolean;
}

const regionOp: OpDefinition = {
  name: "region",
  key: "region",
  inputs: [],
  outputs: [],
  params: {},
  variadic: true,
  shape: () => ({}),
};

/** What was recorded while a function was traced: nodes in order. */
export class Trace {
  readonly nodes: TraceNode[] = [];
  /** Storages from this serial on were made while the trace was open. */
  readonly firstStorage = Storage.next;
  /** Values that are state: they have no derivative, and keep their value where a step does not change them. */
  readonly stateMarks = new Set<Tensor>();
  /** Values of state after a step, with the use that they come from. */
  readonly nextStates = new Map<Tensor, NextState>();

  record(
    op: OpDefinition,
    inputs: readonly (Tensor | undefined)[],
    params: Params,
    { recomputed = false } = {},
  ): Tensor[] {
    for (const input of inputs) {
      if (input?.trace && input.trace !== this) {
        fail(
          "traced",
          op.name,
          "a traced tensor was used outside of the function that traced it",
          input,
          "Return it from that function instead of storing it.",
        );
      }
    }
    const outputs = inferShapes(op, inputs, params).map((out) => Tensor.traced(out, this));
    this.nodes.push(recomputed ? { op, inputs, params, outputs, recomputed } : { op, inputs, params, outputs });
    return outputs;
  }

  /** Closes a region over the nodes recorded since `region.start`; the results stand for `inputs`. */
  recordRegion(inputs: readonly Tensor[], region: Region): Tensor[] {
    const outputs = inputs.map((of) => Tensor.traced({ shape: of.shape, dtype: of.dtype }, this));
    this.nodes.push({ op: regionOp, inputs, params: {}, outputs, region });
    return outputs;
  }

  /** A value that the program takes as input. */
  input(of: Aval): Tensor {
    return Tensor.traced({ shape: freezeShape(of.shape), dtype: of.dtype }, this);
  }
}

let current: Trace | undefined;

/** The trace that is open, if any. */
export const currentTrace = (): Trace | undefined => current;

/** Calls body with a fresh trace open. */
export function withTrace<T>(body: (trace: Trace) => T): T {
  expectFunction("withTrace", { body });
  return within(new Trace(), body);
}

/** Calls body with `trace` open. */
export function within<T>(trace: Trace, body: (trace: Trace) => T): T {
  const outer = current;
  current = trace;
  try {
    const result = body(trace);
    if (result instanceof Promise) {
      fail(
        "traced",
        "jit",
        "a traced function must be synchronous",
        "a Promise",
        "Read data before or after it, not inside.",
      );
    }
    return result;
  } catch (error) {
    throw isStackOverflow(error) ? asTeError(error) : error;
  } finally {
    current = outer;
  }
}
