/** Stochastic gradient descent, and the decaying sum of gradients that is its momentum. */
import { type DType, type Tensor, type Tree, zerosLike } from "@te/tensor";
import { fail, withDefaults } from "@te/tensor/op";
import { expectState, expectTrees } from "./check.js";
import { descend } from "./scale-by-rate.js";
import type { Rate } from "./schedule.js";
import { type GradientTransformation, mapTensors, sequence } from "./transform.js";

/** Options of {@link trace}. */
export interface TraceOptions {
  readonly decay: number;
  readonly nesterov?: boolean;
  /** Dtype of the accumulator; by default that of each parameter. */
  readonly accumulatorDtype?: DType;
}

/** State of {@link trace}. */
export interface TraceState {
  /** The decaying sum of gradients, a tree like the parameters. */
  readonly trace: Tree<Tensor>;
}

/** Replaces g by the decaying sum s = g + decay s, or with nesterov by g + decay s. */
export function trace(options: TraceOptions): GradientTransformation<TraceState> {
  const { decay, ...rest } = withDefaults("trace", options, {
    decay: undefined,
    nesterov: false,
    accumulatorDtype: undefined,
  });
  return accumulate("trace", "decay", decay, rest);
}

/** {@link trace} by another name, with the decay as its option `name`. */
function accumulate(
  fn: string,
  name: string,
  decay: number,
  { nesterov, accumulatorDtype }: Omit<TraceOptions, "decay">,
): GradientTransformation<TraceState> {
  if (typeof decay !== "number" || !(decay >= 0 && decay < 1)) fail("option", fn, `${name} must be in [0, 1)`, decay);
  const add = (g: Tensor, s: Tensor): Tensor => g.add(s.mul(decay));
  return {
    init(params) {
      expectTrees(fn, { params });
      return { trace: mapTensors((p) => zerosLike(p, { dtype: accumulatorDtype ?? p.dtype }), params) };
    },
    update(grads, state, params) {
      expectState(fn, state, "trace");
      expectTrees(fn, { params, grads, "state.trace": state.trace });
      const sums = mapTensors(add, grads, state.trace);
      const direction = nesterov ? mapTensors(add, grads, sums) : sums;
      const updates = mapTensors((g, d) => d.astype(g.dtype), grads, direction);
      return [updates, { trace: mapTensors((old, s) => s.astype(old.dtype), state.trace, sums) }];
    },
  };
}

/** Options of {@link sgd}. */
export interface SgdOptions {
  readonly learningRate: Rate;
  /** Decay of the sum of past gradients; none by default. */
  readonly momentum?: number;
  readonly nesterov?: boolean;
  readonly accumulatorDtype?: DType;
}

/** Stochastic gradient descent, with momentum where given. */
export function sgd(options: SgdOptions): GradientTransformation {
  const { learningRate, momentum, nesterov, accumulatorDtype } = withDefaults("sgd", options, {
    learningRate: undefined,
    momentum: undefined,
    nesterov: false,
    accumulatorDtype: undefined,
  });
  const descent = descend("sgd", "learningRate", learningRate);
  if (momentum === undefined) {
    if (nesterov || accumulatorDtype) fail("option", "sgd", "nesterov and accumulatorDtype need a momentum", "none");
    return descent;
  }
  return sequence("sgd", [accumulate("sgd", "momentum", momentum, { nesterov, accumulatorDtype }), descent]);
}
