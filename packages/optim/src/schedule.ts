/** Learning rates as functions of the number of steps done, which is 0 in the first step; optax's formulas. */
import { fail, full, Tensor, withDefaults } from "@te/tensor";

/** Takes an int32 scalar, traced or not, and gives a float32 scalar or a number. */
export type Schedule = (count: Tensor) => Tensor | number;

/** A rate: the same number always, a function of the step, or a float scalar tensor. */
export type Rate = number | Schedule | Tensor;

/** The rate at a step as float32[]. */
export function rateAt(fn: string, rate: Rate, count: Tensor): Tensor {
  const value = typeof rate === "function" ? rate(count) : rate;
  if (typeof value === "number") return full([], value);
  if (!(value instanceof Tensor) || value.rank !== 0)
    fail("shape", fn, "a learning rate must be a number or a scalar tensor", value);
  return value.astype("float32");
}

/** Always `value`. */
export const constantSchedule =
  (value: number): ((count: Tensor) => Tensor) =>
  () =>
    full([], value);

/** Options of {@link polynomialSchedule}. */
export interface PolynomialScheduleOptions {
  readonly initValue: number;
  readonly endValue: number;
  readonly power: number;
  readonly transitionSteps: number;
  /** Steps at `initValue` before the transition (default 0). */
  readonly transitionBegin?: number;
}

/** (initValue - endValue) (1 - c)^power + endValue with c = (count - transitionBegin) / transitionSteps held in [0, 1]. */
export function polynomialSchedule(options: PolynomialScheduleOptions): (count: Tensor) => Tensor {
  const { initValue, endValue, power, transitionSteps, transitionBegin } = withDefaults("polynomialSchedule", options, {
    initValue: undefined,
    endValue: undefined,
    power: undefined,
    transitionSteps: undefined,
    transitionBegin: 0,
  });
  checkSteps("polynomialSchedule", "transitionSteps", transitionSteps, 0);
  checkSteps("polynomialSchedule", "transitionBegin", transitionBegin, 0);
  if (transitionSteps === 0) return constantSchedule(initValue);
  return (count) => {
    const done = count.sub(transitionBegin).clip(0, transitionSteps).astype("float32").div(transitionSteps);
    const left = done.neg().add(1);
    return (power === 1 ? left : left.pow(power)).mul(initValue - endValue).add(endValue);
  };
}

export type LinearScheduleOptions = Omit<PolynomialScheduleOptions, "power">;

/** From `initValue` to `endValue` in a straight line of `transitionSteps` steps. */
export const linearSchedule = (options: LinearScheduleOptions): ((count: Tensor) => Tensor) =>
  polynomialSchedule({ ...options, power: 1 });

/** Options of {@link cosineDecaySchedule}. */
export interface CosineDecayScheduleOptions {
  readonly initValue: number;
  readonly decaySteps: number;
  /** The last value as a share of the first (default 0). */
  readonly alpha?: number;
  readonly exponent?: number;
}

/** initValue ((1 - alpha) c^exponent + alpha) with c = ½ (1 + cos(π count / decaySteps)). */
export function cosineDecaySchedule(options: CosineDecayScheduleOptions): (count: Tensor) => Tensor {
  const { initValue, decaySteps, alpha, exponent } = withDefaults("cosineDecaySchedule", options, {
    initValue: undefined,
    decaySteps: undefined,
    alpha: 0,
    exponent: 1,
  });
  checkSteps("cosineDecaySchedule", "decaySteps", decaySteps, 1);
  return (count) => {
    const angle = count
      .clip(0, decaySteps)
      .astype("float32")
      .mul(Math.PI / decaySteps);
    const cosine = angle.cos().add(1).mul(0.5);
    return (exponent === 1 ? cosine : cosine.pow(exponent)).mul(initValue * (1 - alpha)).add(initValue * alpha);
  };
}

/** Options of {@link warmupCosineDecaySchedule}. */
export interface WarmupCosineDecayScheduleOptions {
  readonly initValue: number;
  readonly peakValue: number;
  readonly warmupSteps: number;
  /** The whole length: the cosine takes decaySteps - warmupSteps of it. */
  readonly decaySteps: number;
  readonly endValue?: number;
  readonly exponent?: number;
}

/** Up in a straight line from `initValue` to `peakValue`, then down along a cosine to `endValue` (default 0). */
export function warmupCosineDecaySchedule(options: WarmupCosineDecayScheduleOptions): (count: Tensor) => Tensor {
  const { initValue, peakValue, warmupSteps, decaySteps, endValue, exponent } = withDefaults(
    "warmupCosineDecaySchedule",
    options,
    {
      initValue: undefined,
      peakValue: undefined,
      warmupSteps: undefined,
      decaySteps: undefined,
      endValue: 0,
      exponent: 1,
    },
  );
  checkSteps("warmupCosineDecaySchedule", "warmupSteps", warmupSteps, 0);
  checkSteps("warmupCosineDecaySchedule", "decaySteps", decaySteps, 0);
  if (!(decaySteps > warmupSteps)) {
    fail(
      "option",
      "warmupCosineDecaySchedule",
      `decaySteps must be above warmupSteps, ${warmupSteps}`,
      decaySteps,
      "It is the whole length, warm-up included.",
    );
  }
  const alpha = peakValue === 0 ? 0 : endValue / peakValue;
  return joinSchedules(
    [
      linearSchedule({ initValue, endValue: peakValue, transitionSteps: warmupSteps }),
      cosineDecaySchedule({ initValue: peakValue, decaySteps: decaySteps - warmupSteps, alpha, exponent }),
    ],
    [warmupSteps],
  );
}

/** Schedules one after another: number i + 1 takes over at step boundaries[i], where it starts to count at 0. */
export function joinSchedules(
  schedules: readonly Schedule[],
  boundaries: readonly number[],
): (count: Tensor) => Tensor {
  if (schedules.length !== boundaries.length + 1) {
    fail(
      "option",
      "joinSchedules",
      `${schedules.length} schedules need ${schedules.length - 1} boundaries`,
      boundaries.length,
    );
  }
  return (count) =>
    schedules
      .slice(1)
      .reduce(
        (before: Tensor, schedule, i) =>
          count.lt(boundaries[i]!).where(before, rateAt("joinSchedules", schedule, count.sub(boundaries[i]!))),
        rateAt("joinSchedules", schedules[0]!, count),
      );
}

function checkSteps(fn: string, name: string, steps: number, least: number): void {
  if (!Number.isInteger(steps) || steps < least)
    fail("option", fn, `${name} must be an integer of at least ${least}`, steps ?? String(steps));
}
