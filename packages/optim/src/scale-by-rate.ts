import { Tensor, tree } from "@te/tensor";
import { type Rate, rateAt, type Schedule } from "./schedule.js";
import { type EmptyState, type GradientTransformation, nextCount, scale, startCount, stateless } from "./transform.js";

/** How many steps a schedule has seen. */
export interface CountState {
  readonly count: Tensor;
}

/** The product in the gradient's dtype. */
const times = (g: Tensor, factor: Tensor): Tensor => g.mul(factor.astype(g.dtype));

/** Multiplies gradients by a function of the number of steps done. */
export function scaleBySchedule(schedule: Schedule): GradientTransformation<CountState> {
  return {
    init: () => ({ count: startCount() }),
    update(grads, { count }) {
      const factor = rateAt("scaleBySchedule", schedule, count);
      return [tree.map((g: Tensor) => times(g, factor), grads) as typeof grads, { count: nextCount(count) }];
    },
  };
}

/** Multiplies by minus the learning rate, so that adding the result descends. */
export function scaleByLearningRate(rate: Rate): GradientTransformation<CountState | EmptyState> {
  if (typeof rate === "number") return scale(-rate);
  if (rate instanceof Tensor)
    return stateless((g) => times(g, rateAt("scaleByLearningRate", rate, startCount()).neg()));
  const descend: Schedule = (count) => rateAt("scaleByLearningRate", rate, count).neg();
  return scaleBySchedule(descend) as GradientTransformation;
}
