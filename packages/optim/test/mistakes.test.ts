/** Arguments that are none: errors name the function when the optimizer is made, not at its first step. */
import {
  type AdamState,
  adamw,
  applyUpdates,
  chain,
  clipByGlobalNorm,
  constantSchedule,
  type GradientTransformation,
  globalNorm,
  joinSchedules,
  linearSchedule,
  scale,
  scaleByLearningRate,
  scaleBySchedule,
  sgd,
  warmupCosineDecaySchedule,
} from "@te/optim";
import { ones } from "@te/tensor";
import { expectError } from "@te/testkit";
import { describe, expect, test } from "vitest";

test.each([
  [
    "a function that was not called",
    () => chain(adamw as never),
    /^chain: every argument .* got function adamw. Write/,
  ],
  ["a list", () => chain([clipByGlobalNorm(1)] as never), /^chain: every argument must be a transformation/],
  [
    "a list as decay",
    () => adamw({ learningRate: 1, b1: new Array(2 ** 32 - 1) as never }),
    /^adamw: b1 must be a number, got/,
  ],
  [
    "decay of weights in text",
    () => adamw({ learningRate: 1, weightDecay: "1" as never }),
    /^adamw: weightDecay .* got "1"/,
  ],
  ["a norm in text", () => clipByGlobalNorm("1" as never), /^clipByGlobalNorm: maxNorm .* got "1"/],
  ["no steps", () => warmupCosineDecaySchedule({ peakValue: 1 } as never), /warmupSteps must .* got undefined/],
])("%s", (_, f, message) => {
  expect(f).toThrow(message);
});

describe("rates that are none", () => {
  test.each([undefined, null, "1", Number.NaN, ones([2])])("%o", (rate: any) => {
    const rule = "must be a finite number, a schedule or a scalar tensor, got ";
    expectError("option", new RegExp(`^adamw: learningRate ${rule}`), () => adamw({ learningRate: rate }));
    expectError("option", new RegExp(`^sgd: learningRate ${rule}`), () => sgd({ learningRate: rate }));
    expectError("option", new RegExp(`^scaleByLearningRate: rate ${rule}`), () => scaleByLearningRate(rate));
    expectError("option", /^scale: factor must be a finite number, got /, () => scale(rate));
    expectError("option", /^constantSchedule: value must be a finite number, got /, () => constantSchedule(rate));
  });
  test("options by the names they were given under", () => {
    expectError("option", /^sgd: momentum must be in \[0, 1\), got 2/, () => sgd({ learningRate: 1, momentum: 2 }));
    const line = (options: object) => () =>
      linearSchedule({ initValue: 1, endValue: 0, transitionSteps: 4, ...options });
    expectError("option", /^linearSchedule: transitionSteps must be an integer/, line({ transitionSteps: -1 }));
    expectError(
      "option",
      /^linearSchedule: endValue must be a finite number, got undefined/,
      line({ endValue: undefined }),
    );
    expectError("option", /^linearSchedule: unknown option power/, line({ power: 2 }));
    expectError("option", /^scaleBySchedule: schedule must be a function of the step, got 1/, () =>
      scaleBySchedule(1 as never),
    );
  });
  test("what a schedule gives", () => {
    const params = { w: ones([2]) };
    const optimizer = adamw({ learningRate: () => "1" as never });
    expectError("shape", /^adamw: a schedule must give a number or a scalar tensor, got "1"/, () =>
      optimizer.update(params, optimizer.init(params), params),
    );
  });
});

describe("schedules take the number of steps done", () => {
  const warmup = warmupCosineDecaySchedule({ initValue: 0, peakValue: 1, warmupSteps: 2, decaySteps: 10 });
  test("as a number", async () => {
    expect(await warmup(1).item()).toBe(0.5);
    expect(await warmup(1e12).item()).toBe(0);
  });
  test.each([undefined, null, "3", 0.5, -1, {}])("%j is none", (count: any) => {
    const rule = ": a schedule takes the number of steps done, an integer or a scalar tensor, got ";
    expectError("option", new RegExp(`^warmupCosineDecaySchedule${rule}`), () => warmup(count));
    const join = joinSchedules([constantSchedule(1)], []);
    expectError("option", new RegExp(`^joinSchedules${rule}`), () => join(count));
    const line = linearSchedule({ initValue: 1, endValue: 0, transitionSteps: 4 });
    expectError("option", new RegExp(`^linearSchedule${rule}`), () => line(count));
  });
});

describe("states that are not the optimizer's", () => {
  const params = { w: ones([2]), b: ones([1]) };
  const optimizers: Record<string, GradientTransformation> = {
    adamw: adamw({ learningRate: 1 }),
    sgd: sgd({ learningRate: 1, momentum: 0.9 }),
    chain: chain(clipByGlobalNorm(1), adamw({ learningRate: 1 })),
    scaleByLearningRate: scaleByLearningRate(() => 1),
  };
  const others = [undefined, null, 3, {}, [], params, ones([])];
  describe.each(Object.entries(optimizers))("%s", (name, optimizer) => {
    const state = optimizer.init(params);
    const states = Object.entries(optimizers).filter(([other]) => other !== name);
    test.each([...others, ...states.map(([, other]) => other.init(params))])("number %#", (other) => {
      const rule =
        /: state must be what init of the same optimizer made, .*, got .*\. Call update\(grads, state, params\)/;
      expectError("state", rule, () => optimizer.update(params, other, params));
    });
    test("gradients and state swapped", () => {
      expectError("state", /: (state must be what init|grads must have the structure|grads\/.* must be a)/, () =>
        optimizer.update(state as object, params, params),
      );
    });
  });
  test("its entries", () => {
    const { count, mu, nu } = optimizers.adamw!.init(params) as AdamState & { mu: typeof params; nu: typeof params };
    const update = (state: object) => () => optimizers.adamw!.update(params, state, params);
    expectError("state", /^adamw: state\/count must be a tensor, got 3/, update({ count: 3, mu, nu }));
    const message = /^adamw: state\.nu must have the structure of params, but there is no state\.nu\/b/;
    expectError("state", message, update({ count, mu, nu: { w: nu.w } }));
    const other = { count, mu: { ...mu, w: ones([3]) }, nu };
    expectError("shape", /^adamw: state\.mu\/w must have the shape of params\/w, float32\[2\], got/, update(other));
  });
});

test("trees that are none", () => {
  const w = ones([2]);
  expectError("state", /^adamw: params\/w must be a tensor, got 3/, () =>
    adamw({ learningRate: 1 }).init({ w: 3 as never }),
  );
  expectError("state", /^globalNorm: updates\/w must be a tensor, got 3/, () => globalNorm({ w: 3 as never }));
  expectError("state", /^scale: grads\/w must be a tensor/, () => scale(2).update({ w: "x" as never }, {}));
  expectError("option", /^applyUpdates: updates must be a tree like/, () => applyUpdates({ w }, undefined as never));
  expectError("state", /^applyUpdates: .* there is no updates\/w/, () => applyUpdates({ w } as object, { v: w }));
  expectError("shape", /^applyUpdates: updates\/w must have the shape of params\/w/, () =>
    applyUpdates({ w }, { w: ones([1]) }),
  );
});
