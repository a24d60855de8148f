/** Optimizers against recorded steps of optax, eager and in jit, and what their options and states refuse. */
import { jit, memory, type Tensor, type Tree, tensor, tree } from "@te/tensor";
import { describe, expect, test } from "vitest";
import {
  adam,
  adamw,
  applyUpdates,
  chain,
  clipByGlobalNorm,
  type GradientTransformation,
  globalNorm,
  identity,
  scale,
  scaleBySchedule,
  sgd,
  warmupCosineDecaySchedule,
} from "../src/index.js";
import { firstParams, flat, gradientsAt, stepOf, trajectory } from "./helpers.js";
import { TRAJECTORIES } from "./vectors.js";

const schedule = warmupCosineDecaySchedule({
  initValue: 0,
  peakValue: 0.1,
  warmupSteps: 2,
  decaySteps: 5,
  endValue: 0.01,
});

const OPTIMIZERS: { [K in keyof typeof TRAJECTORIES]: GradientTransformation } = {
  adamw: adamw({ learningRate: 0.1 }),
  "adamw options": adamw({
    learningRate: 0.05,
    b1: 0.8,
    b2: 0.95,
    eps: 1e-3,
    epsRoot: 1e-4,
    weightDecay: 0.1,
    mask: { w: true, b: false },
  }),
  "adamw schedule": adamw({ learningRate: schedule, weightDecay: 0.01 }),
  adam: adam({ learningRate: 0.1, b1: 0.7 }),
  sgd: sgd({ learningRate: 0.1 }),
  "sgd momentum": sgd({ learningRate: 0.1, momentum: 0.9 }),
  "sgd nesterov": sgd({ learningRate: 0.1, momentum: 0.9, nesterov: true }),
  chain: chain(clipByGlobalNorm(1), adamw({ learningRate: 0.1 })),
  "clip sgd": chain(clipByGlobalNorm(1), sgd({ learningRate: 0.5 })),
  "scale by schedule": chain(
    scale(2),
    scaleBySchedule((count) => tensor(0.5).pow(count.astype("float32"))),
    scale(-0.1),
  ),
};

const names = Object.keys(OPTIMIZERS) as (keyof typeof TRAJECTORIES)[];

/** Parameters of every step against optax's, to about 1e-6. */
function expectTrajectory(steps: number[][], name: keyof typeof TRAJECTORIES): void {
  expect(steps).toEqual(TRAJECTORIES[name].map((step) => step.map((value) => expect.closeTo(value, 5.7))));
}

describe("trajectories are optax's", () => {
  test.each(names)("%s", (name) => {
    expectTrajectory(trajectory(OPTIMIZERS[name]), name);
  });

  test.each(names)("%s inside jit, with a traced count", (name) => {
    const optimizer = OPTIMIZERS[name];
    let traces = 0;
    const step = jit((params: unknown, grads: unknown, state: unknown) => {
      traces++;
      return stepOf(optimizer)(params, grads, state);
    });
    expect(trajectory(optimizer, step)).toEqual(trajectory(optimizer));
    expect(traces, "traces of five steps").toBe(1);
  });
});

describe("adamw", () => {
  test("the state has optax's names; the count is int32", () => {
    const state = adamw({ learningRate: 1 }).init(firstParams());
    expect(Object.keys(state)).toEqual(["count", "mu", "nu"]);
    expect([state.count.dtype, state.count.shape]).toEqual(["int32", []]);
    expect(tree.leaves(state.nu).map((t) => t.shape)).toEqual([[2], [2, 2]]);
  });

  test("moments have the dtype of the parameter unless told otherwise; updates always", () => {
    const params = { w: tensor([1, 2], { dtype: "bfloat16" }) };
    const dtypes = (options: object) => {
      const optimizer = adamw({ learningRate: 0.1, ...options });
      const [updates, state] = optimizer.update(params, optimizer.init(params), params);
      return [updates, state.mu, state.nu].map((of) => tree.leaves(of)[0]!.dtype);
    };
    expect(dtypes({})).toEqual(["bfloat16", "bfloat16", "bfloat16"]);
    expect(dtypes({ muDtype: "float32" })).toEqual(["bfloat16", "float32", "bfloat16"]);
    expect(dtypes({ nuDtype: "float32" })).toEqual(["bfloat16", "bfloat16", "float32"]);
  });

  test("float32 moments see gradients that bfloat16 ones lose", () => {
    const params = { w: tensor([1], { dtype: "bfloat16" }) };
    const after = (nuDtype: "bfloat16" | "float32") => {
      const optimizer = adamw({ learningRate: 0.1, nuDtype });
      let state = optimizer.init(params);
      for (const g of [1, 0, 0, 0, 0, 0])
        state = optimizer.update({ w: tensor([g], { dtype: "bfloat16" }) }, state, params)[1];
      return tree.leaves(state.nu)[0]!.astype("float32").dataSync()[0]!;
    };
    expect(after("float32")).toBeCloseTo(0.001 * 0.999 ** 5, 8);
    expect(after("bfloat16")).toBe(tensor([0.001], { dtype: "bfloat16" }).astype("float32").dataSync()[0]);
  });

  test("the learning rate may be a tensor, also one that jit sees as an argument", () => {
    const step = jit((params: unknown, grads: unknown, state: unknown, learningRate: Tensor) =>
      stepOf(adamw({ learningRate }))(params, grads, state),
    );
    const optimizer = adamw({ learningRate: 0.1 });
    const [params] = step(firstParams(), gradientsAt(0), optimizer.init(firstParams()), tensor(0.1));
    expect(flat(params)).toEqual(TRAJECTORIES.adamw[0].map((v) => expect.closeTo(v, 5.7)));
    expect(() => adamw({ learningRate: tensor([0.1, 0.2]) })).toThrow("a schedule or a scalar tensor, got float32[2]");
  });

  test("a mask may be a function", () => {
    const options = { learningRate: 0.05, b1: 0.8, b2: 0.95, eps: 1e-3, epsRoot: 1e-4, weightDecay: 0.1 };
    const mask = (params: Tree<Tensor>) => tree.map((p) => p.rank > 1, params);
    expect(trajectory(adamw({ ...options, mask }))).toEqual(trajectory(OPTIMIZERS["adamw options"]));
  });

  test("first step: the update has the size of the learning rate whatever the gradient's", () => {
    const params = { w: tensor([0, 0, 0, 0]) };
    const optimizer = adam({ learningRate: 0.25 });
    const grads = { w: tensor([1e-6, -1, 1e3, 1e-30]) };
    const [updates] = optimizer.update(grads, optimizer.init(params));
    const [small, one, large, tiny] = flat(updates);
    expect(small).toBeCloseTo(-0.25 / (1 + 1e-2), 5);
    expect(one).toBeCloseTo(0.25, 6);
    expect(large).toBeCloseTo(-0.25, 6);
    expect(tiny).toBeCloseTo(0, 6);
  });

  test("the count stops at the largest int32", () => {
    const optimizer = adam({ learningRate: 0.1 });
    const state = { ...optimizer.init(firstParams()), count: tensor(2 ** 31 - 1, { dtype: "int32" }) };
    const [updates, next] = optimizer.update(gradientsAt(0), state);
    expect(next.count.dataSync()[0]).toBe(2 ** 31 - 1);
    expect(flat(updates).every(Number.isFinite)).toBe(true);
  });

  test("donated moments are updated and the old state is gone", async () => {
    const optimizer = adamw({ learningRate: 0.1 });
    const step = jit(stepOf(optimizer), { donateArgnums: [0, 2] });
    let params: any = firstParams();
    let state = optimizer.init(params);
    const first = state;
    const steps: number[][] = [];
    for (let t = 0; t < 5; t++) {
      [params, state] = step(params, gradientsAt(t), state);
      steps.push(flat(params));
    }
    expectTrajectory(steps, "adamw");
    expect(() => flat(first)).toThrow("donated");
  });
});

describe("errors", () => {
  const params = firstParams();
  const codeOf = (f: () => unknown) => expect.soft(f).toThrow(expect.objectContaining({ name: "TeError" }));

  test("options out of range", () => {
    for (const options of [{ b1: 1 }, { b2: -0.1 }, { eps: -1 }, { epsRoot: -1 }, { b1: Number.NaN }]) {
      codeOf(() => adamw({ learningRate: 1, ...options }));
    }
    codeOf(() => clipByGlobalNorm(0));
    codeOf(() => sgd({ learningRate: 1, nesterov: true }));
    codeOf(() => sgd({ learningRate: 1, momentum: 1 }));
  });

  test("weight decay without parameters says how to call update", () => {
    const optimizer = adamw({ learningRate: 1 });
    expect(() => optimizer.update(gradientsAt(0), optimizer.init(params))).toThrow(
      "adamw: weight decay needs the parameters. Call update(grads, state, params).",
    );
  });

  test("gradients of another structure or shape", () => {
    const optimizer = adamw({ learningRate: 1 });
    const state = optimizer.init(params);
    const update = (grads: object) => () => optimizer.update(grads, state, params);
    expect(update({ w: params.w })).toThrow("adamw: grads must have the structure of params, but there is no grads/b.");
    const { w } = params;
    expect(update({ ...params, c: w })).toThrow(
      "adamw: grads must have the structure of params, but there is no params/c",
    );
    expect(update({ w, b: w })).toThrow(
      "adamw: grads/b must have the shape of params/b, float32[2], got float32[2,2].",
    );
    expect(update({ w, b: 3 })).toThrow("adamw: grads/b must be a tensor, got 3.");
  });

  test("a mask of another structure or kind", () => {
    const update = (mask: unknown) => () => {
      const optimizer = adamw({ learningRate: 1, mask: mask as never });
      return optimizer.update(params, optimizer.init(params), params);
    };
    expect(update({ w: true })).toThrow("adamw: mask must have the structure of params, but there is no mask/b.");
    expect(update(() => ({ w: true, b: 1 }))).toThrow("adamw: mask/b must be true or false, got 1.");
  });
});

describe("globalNorm and clipByGlobalNorm", () => {
  test("the norm is that of all leaves together, in float32", () => {
    expect(globalNorm(firstParams()).dataSync()[0]).toBeCloseTo(2.326478, 6);
    const many = { x: tensor(new Float32Array(4096).fill(1)).astype("bfloat16") };
    expect(globalNorm(many).dataSync()[0]).toBe(64);
    expect(globalNorm({}).dataSync()[0]).toBe(0);
  });

  test("small gradients pass bit for bit, large ones are scaled to the norm", () => {
    const [small] = clipByGlobalNorm(3).update(firstParams(), {});
    expect(flat(small)).toEqual(flat(firstParams()));
    const [large] = clipByGlobalNorm(0.5).update(firstParams(), {});
    expect(globalNorm(large).dataSync()[0]).toBeCloseTo(0.5, 6);
  });

  test("zeros stay zeros and NaN stays NaN", () => {
    expect(flat(clipByGlobalNorm(1).update({ w: tensor([0, 0]) }, {})[0])).toEqual([0, 0]);
    expect(flat(clipByGlobalNorm(1).update({ w: tensor([Number.NaN, 1]) }, {})[0])).toEqual([Number.NaN, Number.NaN]);
  });
});

describe("applyUpdates", () => {
  test("keeps the dtype of the parameters and leaves null alone", () => {
    const params = { w: tensor([1], { dtype: "bfloat16" }), none: null };
    const next = applyUpdates(params, { w: tensor([0.5]) as Tensor, none: null });
    expect([next.w.dtype, flat(next.w.astype("float32")), next.none]).toEqual(["bfloat16", [1.5], null]);
  });

  test("identity changes nothing", () => {
    expect(flat(identity().update(firstParams(), {})[0])).toEqual(flat(firstParams()));
  });
});

test("fifty steps in jit with donation hold no more memory than one", async () => {
  const optimizer = adamw({ learningRate: 0.01 });
  const step = jit(stepOf(optimizer), { donateArgnums: [0, 2] });
  let params: any = firstParams();
  let state = optimizer.init(params);
  const grads = gradientsAt(0);
  [params, state] = step(params, grads, state);
  flat(params);
  const live = memory().live;
  for (let t = 0; t < 50; t++) [params, state] = step(params, grads, state);
  flat(params);
  expect(memory().live).toBeLessThanOrEqual(live);
});

test("options that do not exist", () => {
  expect(() => adamw({ learningRate: 1, weight_decay: 0 } as never)).toThrow(
    /adamw: unknown option weight_decay\. Did you mean weightDecay\?/,
  );
  expect(() => adam({ learningRate: 1, weightDecay: 0 } as never)).toThrow(/adam: unknown option weightDecay/);
  expect(() => sgd({ lr: 1 } as never)).toThrow(/sgd: unknown option lr\. Options: learningRate, momentum/);
});
