/** Adam and AdamW: options, state, and one `adamw_update` for each parameter. */
import { type DType, type Tensor, type Tree, tree, zerosLike } from "@te/tensor";
import { type Defaults, expectFinite, expectNumber, fail, type WithDefaults, withDefaults } from "@te/tensor/op";
import { expectMask, expectState, expectTrees } from "./check.js";
import { adamwUpdateOp } from "./ops/adamw-update.js";
import { checkRate, type Rate, rateAt } from "./schedule.js";
import { type GradientTransformation, mapTensors, nextCount, startCount } from "./transform.js";

/** Options of {@link adam}. */
export interface AdamOptions {
  readonly learningRate: Rate;
  /** Decay of the mean of gradients (default 0.9). */
  readonly b1?: number;
  /** Decay of the mean of squared gradients (default 0.999). */
  readonly b2?: number;
  /** Added to the root (default 1e-8). */
  readonly eps?: number;
  /** Added under the root (default 0). */
  readonly epsRoot?: number;
  /** Dtype of the first moment; by default that of each parameter, as in optax. */
  readonly muDtype?: DType;
  /**
   * Dtype of the second moment; by default that of each parameter, as in optax. With b2 = 0.999 and bfloat16 parameters
   * choose "float32": bfloat16 cannot hold so small a change.
   */
  readonly nuDtype?: DType;
}

/** Options of {@link adamw}. */
export interface AdamWOptions extends AdamOptions {
  /** Times the parameter and the learning rate, subtracted at each step (default 1e-4). */
  readonly weightDecay?: number;
  /** Which parameters decay: a tree of booleans like the parameters, or a function that makes one. All by default. */
  readonly mask?: Tree<boolean> | ((params: any) => Tree<boolean>);
}

/** State of {@link adam} and {@link adamw}. */
export interface AdamState {
  /** Steps done, int32[]. */
  readonly count: Tensor;
  /** First moments, a tree like the parameters. */
  readonly mu: Tree<Tensor>;
  /** Second moments, a tree like the parameters. */
  readonly nu: Tree<Tensor>;
}

const ADAM = {
  learningRate: undefined,
  b1: 0.9,
  b2: 0.999,
  eps: 1e-8,
  epsRoot: 0,
  muDtype: undefined,
  nuDtype: undefined,
} satisfies Defaults<AdamOptions>;
const ADAMW = { ...ADAM, weightDecay: 1e-4, mask: undefined } satisfies Defaults<AdamWOptions>;

/** Adam: {@link adamw} without weight decay. Does not need the parameters in update. */
export const adam = (options: AdamOptions): GradientTransformation<AdamState> =>
  build("adam", withDefaults("adam", options, ADAM), 0, undefined);

/**
 * AdamW: Adam with weight decay that is not part of the gradient. Each parameter is one `adamw_update` op, which computes
 * in float32 and rounds once. A learning rate that is a schedule sees the number of steps done, 0 at first.
 *
 * Throws TeError: "option" for decays outside of [0, 1), negative eps and a mask of something else, "state" for trees of
 * different structure, the state of another optimizer and where `update` is called without the parameters that the decay
 * needs, "shape" for gradients of other parameters.
 */
export function adamw(options: AdamWOptions): GradientTransformation<AdamState> {
  const { weightDecay, mask, ...adam } = withDefaults("adamw", options, ADAMW);
  return build("adamw", adam, weightDecay, mask);
}

function build(
  fn: string,
  options: WithDefaults<AdamOptions, typeof ADAM>,
  weightDecay: number,
  mask: unknown,
): GradientTransformation<AdamState> {
  const { learningRate, b1, b2, eps, epsRoot, muDtype, nuDtype } = options;
  checkRate(fn, "learningRate", learningRate);
  expectNumber(fn, { b1, b2, eps, epsRoot });
  expectFinite(fn, { weightDecay });
  for (const [name, decay] of Object.entries({ b1, b2 })) {
    if (!(decay >= 0 && decay < 1)) fail("option", fn, `${name} must be in [0, 1)`, decay);
  }
  for (const [name, value] of Object.entries({ eps, epsRoot })) {
    if (!(value >= 0)) fail("option", fn, `${name} must not be negative`, value);
  }
  const zerosIn = (dtype: DType | undefined) => (p: Tensor) => zerosLike(p, { dtype: dtype ?? p.dtype });
  return {
    init(params) {
      expectTrees(fn, { params });
      return {
        count: startCount(),
        mu: mapTensors(zerosIn(muDtype), params),
        nu: mapTensors(zerosIn(nuDtype), params),
      };
    },
    update(grads, state, params) {
      expectState(fn, state, "count", "mu", "nu");
      if (weightDecay !== 0 && params === undefined) {
        fail("state", fn, "weight decay needs the parameters", undefined, "Call update(grads, state, params).");
      }
      expectTrees(fn, { params, grads, "state.mu": state.mu, "state.nu": state.nu });
      const lr = rateAt(fn, learningRate, state.count);
      const count = nextCount(state.count);
      const stepped: ReturnType<typeof adamwUpdateOp>[] = [];
      const step = (g: Tensor, m: Tensor, v: Tensor, p: Tensor, decays: boolean): void => {
        const decay = decays ? weightDecay : 0;
        stepped.push(adamwUpdateOp({ g, m, v, p, lr, count }, { b1, b2, eps, epsRoot, weightDecay: decay }));
      };
      const of = params ?? grads;
      tree.map(step, grads, state.mu, state.nu, of, decayTree(fn, mask, of));
      const [, definition] = tree.flatten(grads);
      const collect = <T>(output: "update" | "m2" | "v2") =>
        tree.unflatten(
          definition,
          stepped.map((s) => s[output]),
        ) as T;
      return [collect<typeof grads>("update"), { count, mu: collect("m2"), nu: collect("v2") }];
    },
  };
}

/** A boolean for every parameter. */
function decayTree(fn: string, mask: unknown, params: unknown): unknown {
  if (mask === undefined) return tree.map(() => true, params);
  const decays = typeof mask === "function" ? mask(params) : mask;
  expectMask(fn, decays, params);
  return decays;
}
