/**
 * Learning rates as functions of the number of steps done, which is 0 in the first step; optax's formulas. Those here take
 * the number as a tensor or as a number.
 */
import { full, Tensor } from "@te/tensor";
import { expectList, fail, withDefaults } from "@te/tensor/op";

/** Takes an int32 scalar, traced or not, and gives a float32 scalar or a number. */
export type Schedule = (count: Tensor) => Tensor | number;

/** A rate: the same number always, a function of the step, or a float scalar tensor. */
export type Rate = number | Schedule | Tensor;

/** Throws unless the option `name` of `fn` is a rate. */
export function checkRate(fn: string, name: string, rate: unknown): void {
  if (typeof rate === "function" || Number.isFinite(rate) || (rate instanceof Tensor && rate.rank === 0)) return;
  const rule = `${name} must be a finite number, a schedule or a scalar tensor`;
  fail("option", fn, rule, rate ?? String(rate));
}

/** The rate at a step as float32[]. */
export function rateAt(fn: string, rate: Rate, count: Tensor): Tensor {
  const value = typeof rate === "function" ? rate(count) : rate;
  if (typeof value === "number") return full([], value);
  if (!(value instanceof Tensor) || value.rank !== 0)
    fail("shape", fn, "a schedule must give a number or a scalar tensor", value ?? String(value));
  return value.astype("float32");
}

const isStep = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

/** The number of steps done as a tensor. */
function stepOf(fn: string, count: Tensor | number): Tensor {
  if (count instanceof Tensor) return count;
  if (!Number.isSafeInteger(count) || count < 0)
    fail(
      "option",
      fn,
      "a schedule takes the number of steps done, an integer or a scalar tensor",
      count ?? String(count),
    );
  return full([], Math.min(count, 2 ** 31 - 1), { dtype: "int32" });
}

/** Always `value`. */
export function constantSchedule(value: number): (count: Tensor | number) => Tensor {
  checkNumbers("constantSchedule", { value });
  return () => full([], value);
}

/** Options of {@link polynomialSchedule}. */
export interface PolynomialScheduleOptions {
  readonly initValue: number;
  readonly endValue: number;
  readonly power: number;
  readonly transitionSteps: number;
  /** Steps at `initValue` before the transition (default 0). */
  readonly transitionBegin?: number;
}

const LINEAR = { initValue: undefined, endValue: undefined, transitionSteps: undefined, transitionBegin: 0 };

/** (initValue - endValue) (1 - c)^power + endValue with c = (count - transitionBegin) / transitionSteps held in [0, 1]. */
export function polynomialSchedule(options: PolynomialScheduleOptions): (count: Tensor | number) => Tensor {
  return polynomial("polynomialSchedule", withDefaults("polynomialSchedule", options, { ...LINEAR, power: undefined }));
}

export type LinearScheduleOptions = Omit<PolynomialScheduleOptions, "power">;

/** From `initValue` to `endValue` in a straight line of `transitionSteps` steps. */
export function linearSchedule(options: LinearScheduleOptions): (count: Tensor | number) => Tensor {
  return polynomial("linearSchedule", { ...withDefaults("linearSchedule", options, LINEAR), power: 1 });
}

function polynomial(
  fn: string,
  { initValue, endValue, power, transitionSteps, transitionBegin }: Required<PolynomialScheduleOptions>,
): (count: Tensor | number) => Tensor {
  checkSteps(fn, "transitionSteps", transitionSteps, 0);
  checkSteps(fn, "transitionBegin", transitionBegin, 0);
  checkNumbers(fn, { initValue, endValue, power });
  if (transitionSteps === 0) return constantSchedule(initValue);
  return (count) => {
    const done = stepOf(fn, count).sub(transitionBegin).clip(0, transitionSteps).astype("float32").div(transitionSteps);
    const left = done.neg().add(1);
    return (power === 1 ? left : left.pow(power)).mul(initValue - endValue).add(endValue);
  };
}

/** Options of {@link cosineDecaySchedule}. */
export interface CosineDecayScheduleOptions {
  readonly initValue: number;
  readonly decaySteps: number;
  /** The last value as a share of the first (default 0). */
  readonly alpha?: number;
  readonly exponent?: number;
}

/** initValue ((1 - alpha) c^exponent + alpha) with c = ½ (1 + cos(π count / decaySteps)). */
export function cosineDecaySchedule(options: CosineDecayScheduleOptions): (count: Tensor | number) => Tensor {
  const { initValue, decaySteps, alpha, exponent } = withDefaults("cosineDecaySchedule", options, {
    initValue: undefined,
    decaySteps: undefined,
    alpha: 0,
    exponent: 1,
  });
  checkSteps("cosineDecaySchedule", "decaySteps", decaySteps, 1);
  checkNumbers("cosineDecaySchedule", { initValue, alpha, exponent });
  return (count) => {
    const angle = stepOf("cosineDecaySchedule", count)
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
export function warmupCosineDecaySchedule(
  options: WarmupCosineDecayScheduleOptions,
): (count: Tensor | number) => Tensor {
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
  checkNumbers("warmupCosineDecaySchedule", { initValue, peakValue, endValue, exponent });
  const alpha = peakValue === 0 ? 0 : endValue / peakValue;
  return joined(
    "warmupCosineDecaySchedule",
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
): (count: Tensor | number) => Tensor {
  expectList("joinSchedules", "schedules", { schedules }, (item) => typeof item === "function");
  expectList("joinSchedules", "integers of at least 0", { boundaries }, isStep);
  if (schedules.length !== boundaries.length + 1) {
    fail(
      "option",
      "joinSchedules",
      `${schedules.length} schedules need ${schedules.length - 1} boundaries`,
      boundaries.length,
    );
  }
  return joined("joinSchedules", schedules, boundaries);
}

function joined(
  fn: string,
  [first, ...rest]: readonly Schedule[],
  boundaries: readonly number[],
): (count: Tensor | number) => Tensor {
  return (given) => {
    const count = stepOf(fn, given);
    return rest.reduce(
      (before: Tensor, schedule, i) =>
        count.lt(boundaries[i]!).where(before, rateAt(fn, schedule, count.sub(boundaries[i]!))),
      rateAt(fn, first!, count),
    );
  };
}

function checkSteps(fn: string, name: string, steps: number, least: number): void {
  if (!Number.isInteger(steps) || steps < least)
    fail("option", fn, `${name} must be an integer of at least ${least}`, steps ?? String(steps));
}

function checkNumbers(fn: string, numbers: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(numbers))
    if (!Number.isFinite(value)) fail("option", fn, `${name} must be a finite number`, value ?? String(value));
}
