/** Gradients times a learning rate, or times a schedule of the steps done. */
import { Tensor } from "@te/tensor";
import { fail } from "@te/tensor/op";
import { expectState, expectTrees } from "./check.js";
import { checkRate, type Rate, rateAt, type Schedule } from "./schedule.js";
import {
  type EmptyState,
  type GradientTransformation,
  mapTensors,
  nextCount,
  startCount,
  stateless,
} from "./transform.js";

/** How many steps a schedule has seen. */
export interface CountState {
  readonly count: Tensor;
}

/** The product in the gradient's dtype. */
const times = (g: Tensor, factor: Tensor): Tensor => g.mul(factor.astype(g.dtype));

/** Multiplies gradients by a function of the number of steps done. */
export function scaleBySchedule(schedule: Schedule): GradientTransformation<CountState> {
  if (typeof schedule !== "function")
    fail("option", "scaleBySchedule", "schedule must be a function of the step", schedule ?? String(schedule));
  return scheduled("scaleBySchedule", (count) => rateAt("scaleBySchedule", schedule, count));
}

/** Multiplies by minus the learning rate, so that adding the result descends. */
export const scaleByLearningRate = (rate: Rate): GradientTransformation<CountState | EmptyState> =>
  descend("scaleByLearningRate", "rate", rate);

/** {@link scaleByLearningRate} by another name, with the rate as its option `name`. */
export function descend(fn: string, name: string, rate: Rate): GradientTransformation<CountState | EmptyState> {
  checkRate(fn, name, rate);
  if (typeof rate === "number") return stateless(fn, (g) => g.mul(-rate));
  if (rate instanceof Tensor) return stateless(fn, (g) => times(g, rateAt(fn, rate, startCount()).neg()));
  return scheduled(fn, (count) => rateAt(fn, rate, count).neg());
}

function scheduled(fn: string, factorAt: (count: Tensor) => Tensor): GradientTransformation<CountState> {
  return {
    init: () => ({ count: startCount() }),
    update(grads, state) {
      expectState(fn, state, "count");
      expectTrees(fn, { grads });
      const factor = factorAt(state.count);
      return [mapTensors((g) => times(g, factor), grads), { count: nextCount(state.count) }];
    },
  };
}
