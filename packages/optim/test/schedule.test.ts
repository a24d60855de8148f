/** Schedules against recorded values of optax, with plain and traced counts. */
import { jit, type Tensor, tensor } from "@te/tensor";
import { describe, expect, test } from "vitest";
import {
  constantSchedule,
  cosineDecaySchedule,
  joinSchedules,
  linearSchedule,
  polynomialSchedule,
  type Schedule,
  warmupCosineDecaySchedule,
} from "../src/index.js";
import { SCHEDULES } from "./vectors.js";

const S: { [K in keyof typeof SCHEDULES]: Schedule } = {
  constant: constantSchedule(0.3),
  linear: linearSchedule({ initValue: 1, endValue: 0.1, transitionSteps: 4 }),
  "linear begin": linearSchedule({ initValue: 1, endValue: 0.1, transitionSteps: 4, transitionBegin: 2 }),
  poly: polynomialSchedule({ initValue: 1, endValue: 0.1, power: 2, transitionSteps: 4, transitionBegin: 1 }),
  cosine: cosineDecaySchedule({ initValue: 0.5, decaySteps: 6, alpha: 0.1 }),
  "cosine exp": cosineDecaySchedule({ initValue: 0.5, decaySteps: 6, alpha: 0.1, exponent: 2 }),
  warmup: warmupCosineDecaySchedule({ initValue: 0, peakValue: 1, warmupSteps: 3, decaySteps: 8, endValue: 0.1 }),
  warmup0: warmupCosineDecaySchedule({ initValue: 0.2, peakValue: 1, warmupSteps: 0, decaySteps: 8, endValue: 0.1 }),
  linear0: linearSchedule({ initValue: 1, endValue: 0.1, transitionSteps: 0 }),
  join: joinSchedules([() => 1, linearSchedule({ initValue: 2, endValue: 0, transitionSteps: 4 })], [3]),
};

const at = (schedule: Schedule, step: number): number => {
  const value = schedule(tensor(step, { dtype: "int32" }));
  return typeof value === "number" ? value : value.dataSync()[0]!;
};

describe("schedules are optax's", () => {
  test.each(Object.keys(S) as (keyof typeof S)[])("%s", (name) => {
    const values = Array.from({ length: 10 }, (_, step) => at(S[name], step));
    expect(values).toEqual(SCHEDULES[name].map((v) => expect.closeTo(v, 6)));
  });

  test.each(Object.keys(S) as (keyof typeof S)[])("%s inside jit", (name) => {
    const traced = jit((count: Tensor) => S[name](count));
    const value = traced(tensor(4, { dtype: "int32" }));
    expect(typeof value === "number" ? value : value.dataSync()[0]).toBe(at(S[name], 4));
  });
});

test("a step far beyond the end stays at the end", () => {
  expect(at(S.cosine, 2 ** 31 - 1)).toBeCloseTo(0.05, 6);
  expect(at(S.linear, 2 ** 31 - 1)).toBeCloseTo(0.1, 6);
  expect(at(S.warmup, 2 ** 31 - 1)).toBeCloseTo(0.1, 6);
});

test("options out of range", () => {
  expect(() => cosineDecaySchedule({ initValue: 1, decaySteps: 0 })).toThrow(
    "decaySteps must be an integer of at least 1, got 0.",
  );
  expect(() => linearSchedule({ initValue: 1, endValue: 0, transitionSteps: 1.5 })).toThrow("got 1.5.");
  expect(() => warmupCosineDecaySchedule({ initValue: 0, peakValue: 1, warmupSteps: 8, decaySteps: 8 })).toThrow(
    "decaySteps must be above warmupSteps, 8, got 8.",
  );
  expect(() => joinSchedules([() => 1], [3])).toThrow("1 schedules need 0 boundaries, got 1.");
});
