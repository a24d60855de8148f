/** What an optimizer is: a gradient transformation, how several are chained, and the simplest ones. */
import { full, type Tensor, type TensorTree, tree } from "@te/tensor";
import { fail } from "@te/tensor/op";
import { expectTrees } from "./check.js";

/**
 * A step of an optimizer as two pure functions over trees of tensors, in optax's shape. `params`, `grads` and `updates`
 * have one structure: parameters only, never other collections such as fp8 scales. Both functions work inside jit and
 * outside, and the state is a tree of tensors that can be donated and saved.
 */
export interface GradientTransformation<S = unknown> {
  init<P extends TensorTree<P>>(params: P): S;
  /** Turns gradients into updates, which {@link applyUpdates} adds to the parameters. */
  update<G extends TensorTree<G>>(grads: G, state: S, params?: NoInfer<G>): [updates: G, state: S];
}

/** What a transformation without a state has for one. */
export type EmptyState = Record<never, never>;

type StateOf<T> = T extends GradientTransformation<infer S> ? S : never;

/** Applies transformations one after another; the state is the list of their states. */
export function chain<const T extends readonly GradientTransformation[]>(
  ...transformations: T
): GradientTransformation<{ [K in keyof T]: StateOf<T[K]> }> {
  for (const t of transformations) {
    if (typeof t?.init !== "function" || typeof t.update !== "function")
      fail(
        "option",
        "chain",
        "every argument must be a transformation",
        t ?? String(t),
        "Write chain(a(...), b(...)).",
      );
  }
  return sequence("chain", transformations);
}

/** {@link chain} by another name. */
export function sequence<const T extends readonly GradientTransformation[]>(
  fn: string,
  transformations: T,
): GradientTransformation<{ [K in keyof T]: StateOf<T[K]> }> {
  return {
    init: (params) => transformations.map((t) => t.init(params)) as { [K in keyof T]: StateOf<T[K]> },
    update(grads, state, params) {
      if (!Array.isArray(state) || state.length !== transformations.length) {
        const rule = `state must be what init of the same optimizer made, a list of ${transformations.length}`;
        fail("state", fn, rule, state ?? String(state), "Call update(grads, state, params).");
      }
      let updates = grads;
      const next = transformations.map((t, i) => {
        const [changed, following] = t.update(updates, state[i], params);
        updates = changed;
        return following;
      });
      return [updates, next as typeof state];
    },
  };
}

/** tree.map from tensors to tensors: the type of the first tree stays. */
export const mapTensors = <G extends TensorTree<G>>(
  f: (leaf: Tensor, ...others: Tensor[]) => Tensor,
  first: G,
  ...others: unknown[]
): G => tree.map(f as (leaf: unknown) => Tensor, first, ...others) as unknown as G;

/** A transformation without a state, from a function of one gradient. */
export const stateless = (fn: string, f: (grad: Tensor) => Tensor): GradientTransformation<EmptyState> => ({
  init: () => ({}),
  update(grads, state) {
    expectTrees(fn, { grads });
    return [mapTensors(f, grads), state];
  },
});

/** Leaves gradients as they are. */
export const identity = (): GradientTransformation<EmptyState> => stateless("identity", (g) => g);

/** Multiplies gradients by a number. */
export function scale(factor: number): GradientTransformation<EmptyState> {
  if (!Number.isFinite(factor)) fail("option", "scale", "factor must be a finite number", factor ?? String(factor));
  return stateless("scale", (g) => g.mul(factor));
}

/** params + updates, leaf by leaf, in the dtypes of the parameters. */
export function applyUpdates<P extends TensorTree<P>>(params: P, updates: NoInfer<P>): P {
  if (updates === undefined)
    fail("option", "applyUpdates", "updates must be a tree like the parameters", "undefined", "Pass both.");
  expectTrees("applyUpdates", { params, updates });
  return mapTensors((p, u) => p.add(u!).astype(p.dtype), params, updates);
}

/** A counter of steps that starts at 0. */
export const startCount = (): Tensor => full([], 0, { dtype: "int32" });

/** The next count; stays at the largest int32 rather than wrapping around. */
export const nextCount = (count: Tensor): Tensor => count.minimum(2 ** 31 - 2).add(1);
