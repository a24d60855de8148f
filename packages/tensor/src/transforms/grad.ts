/** Gradients: grad, valueAndGrad and vjp. */
import { formatAval, sameShape } from "../aval.js";
import { ones, zeros } from "../create.js";
import { isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { identityOp } from "../ops/mark.js";
import { checkFunction, withDefaults } from "../options.js";
import { Tensor, tensor } from "../tensor.js";
import { currentTrace } from "../trace.js";
import { flatten, formatTreeDef, leavesWithPath, unflatten } from "../tree.js";
import { backward } from "./backward.js";
import { refusePromise, runTraced, tensorLeaves } from "./run-traced.js";
import { isStateCollection } from "./state.js";
import type { AnyFunction, Argnums, GradientAt, Gradients, Position, Primals } from "./types.js";

/** Options of {@link grad} and {@link valueAndGrad}. */
export interface GradOptions<N = number | readonly number[], HasAux = boolean> {
  /** Positions of the arguments to differentiate (default 0). An array of positions gives an array of gradients. */
  readonly argnums?: N;
  /** f returns [value, aux]; aux is passed through. */
  readonly hasAux?: HasAux;
}

/** Argument i with its numbers as float32 scalars. Strings and booleans, such as names of axes, stay; others are refused. */
function differentiable(fn: string, arg: unknown, i: number): unknown {
  const [leaves, definition] = flatten(arg);
  const tensors = leaves.map((leaf) => {
    if (typeof leaf === "number") return tensor(leaf);
    if (leaf instanceof Tensor || typeof leaf === "string" || typeof leaf === "boolean") return leaf;
    const rule = `argument ${i}, to differentiate by, must be a tree of tensors and numbers`;
    return fail("dtype", fn, rule, leaf, "Pass a record of what f needs of it, or close over it.");
  });
  return unflatten(definition, tensors);
}

/** Fresh names for the tensors of an argument, so that only their use through f counts and not f's closure. */
function freshArgument(arg: unknown): unknown {
  const [leaves, definition] = flatten(arg);
  return unflatten(
    definition,
    leaves.map((leaf) => (leaf instanceof Tensor ? identityOp({ x: leaf }).y : leaf)),
  );
}

/** The tensors that lie below the name of a collection of state. */
const stateLeaves = (args: readonly unknown[]): Set<Tensor> =>
  new Set(
    leavesWithPath(args)
      .filter(({ path, leaf }) => leaf instanceof Tensor && path.some(isStateCollection))
      .map(({ leaf }) => leaf),
  );

/** A tree like `arg` with the gradients in place of its tensors; other leaves, such as names, stay. */
function gradientTree(arg: unknown, next: () => Tensor | undefined): unknown {
  const [leaves, definition] = flatten(arg);
  return unflatten(
    definition,
    leaves.map((leaf) => (leaf instanceof Tensor ? fill(leaf, next()) : leaf)),
  );
}

const fill = (of: Tensor, grad: Tensor | undefined): Tensor => grad ?? zeros(of.shape, { dtype: of.dtype });

/**
 * Returns a function that computes f and its gradient: `[value, gradient]`, or `[[value, aux], gradient]` with hasAux.
 * f must return a float scalar. The arguments to differentiate by are trees of tensors and numbers, which are float32
 * scalars, in f too; strings and booleans in them stay. The gradient has the structure of the argument; integer leaves
 * get zeros, and state, such as fp8_metas, its value after the step: itself where no gradient reaches it. Works inside
 * jit and inside another gradient; called on concrete tensors it traces, compiles and runs.
 */
export function valueAndGrad<A extends readonly any[], Aux, const N extends Argnums<A> = 0 & Position<A>>(
  f: (...args: A) => readonly [value: Tensor, aux: Aux],
  options: GradOptions<N, true> & { readonly hasAux: true },
): (...args: Primals<A>) => [result: [value: Tensor, aux: Aux], gradient: GradientAt<A, N>];
/** Without hasAux. */
export function valueAndGrad<A extends readonly any[], const N extends Argnums<A> = 0 & Position<A>>(
  f: (...args: A) => Tensor,
  options?: GradOptions<N, false>,
): (...args: Primals<A>) => [value: Tensor, gradient: GradientAt<A, N>];
export function valueAndGrad(f: Differentiable, options: GradOptions = {}): unknown {
  return differentiate("valueAndGrad", f, options);
}

type Differentiable = (...args: any[]) => Tensor | readonly [value: Tensor, aux: unknown];

function differentiate(fn: string, f: Differentiable, options: GradOptions) {
  checkFunction(fn, f);
  const { argnums, hasAux } = withDefaults(fn, options, { argnums: 0, hasAux: false });
  const positions = typeof argnums === "number" ? [argnums] : argnums;
  const distinct = Array.isArray(positions) && new Set(positions).size === positions.length;
  if (!distinct || !positions.every((i) => Number.isInteger(i) && i >= 0))
    fail("option", fn, "argnums must be a position, or an array of different positions", argnums);
  const traced = (...args: unknown[]): [unknown, unknown] => {
    const trace = currentTrace()!;
    for (const i of positions) {
      if (i >= args.length) fail("option", fn, `argnums must be below the number of arguments, ${args.length}`, i);
    }
    const start = trace.nodes.length;
    const wrt = positions.map((i) => freshArgument(differentiable(fn, args[i], i)));
    const called = [...args];
    positions.forEach((position, k) => {
      called[position] = wrt[k];
    });
    const result = f(...called);
    refusePromise(fn, result);
    if (hasAux && !Array.isArray(result)) fail("option", fn, "with hasAux f must return [value, aux]", result);
    const value = hasAux ? (result as [Tensor, unknown])[0] : result;
    checkScalar(fn, value);
    const seed = ones([], { dtype: value.dtype });
    const grads = backward(trace, start, [[value, seed]], tensorLeaves(wrt), stateLeaves(wrt));
    let next = 0;
    const trees = wrt.map((copy) => gradientTree(copy, () => grads[next++]));
    return [result, typeof argnums === "number" ? trees[0] : trees];
  };
  return (...args: unknown[]) => (currentTrace() ? traced(...args) : runTraced(traced, args)) as [unknown, unknown];
}

function checkScalar(fn: string, value: unknown): asserts value is Tensor {
  if (!(value instanceof Tensor))
    fail(
      "dtype",
      fn,
      "f must return a scalar tensor",
      value ?? String(value),
      "With extra results return [value, aux] and set hasAux.",
    );
  if (value.shape.length !== 0 || !isFloat(value.dtype)) {
    fail("shape", fn, "f must return a float scalar", value, "Reduce it, for example with mean() or sum().");
  }
}

/** Like valueAndGrad, without the value: the gradient, or [gradient, aux] with hasAux. */
export function grad<A extends readonly any[], Aux, const N extends Argnums<A> = 0 & Position<A>>(
  f: (...args: A) => readonly [value: Tensor, aux: Aux],
  options: GradOptions<N, true> & { readonly hasAux: true },
): (...args: Primals<A>) => [gradient: GradientAt<A, N>, aux: Aux];
/** Without hasAux. */
export function grad<A extends readonly any[], const N extends Argnums<A> = 0 & Position<A>>(
  f: (...args: A) => Tensor,
  options?: GradOptions<N, false>,
): (...args: Primals<A>) => GradientAt<A, N>;
export function grad(f: Differentiable, options: GradOptions = {}): unknown {
  const both = differentiate("grad", f, options);
  return (...args: unknown[]) => {
    const [result, gradient] = both(...args);
    return options.hasAux ? [gradient, (result as [Tensor, unknown])[1]] : gradient;
  };
}

/**
 * f's result at the primals and the function that pulls a cotangent of the result back to cotangents of the primals,
 * trees as in {@link valueAndGrad}. The result is a tree of tensors; the cotangent has its structure, shapes and dtypes.
 */
export function vjp<A extends readonly any[], R extends object | [] | null | undefined>(
  f: (...args: A) => R,
  ...primals: Primals<A>
): [result: R, pullback: (cotangent: R) => Gradients<A>] {
  checkFunction("vjp", f);
  return pullBack(f, primals) as [R, (cotangent: R) => Gradients<A>];
}

function pullBack(f: AnyFunction, primals: readonly unknown[]): [unknown, (cotangent: unknown) => unknown[]] {
  const given = primals.map((primal, i) => differentiable("vjp", primal, i));
  const trace = currentTrace();
  if (!trace) {
    const pullback = (cotangent: unknown) =>
      runTraced(
        (ct: unknown, ...args: unknown[]) => {
          const [, pull] = pullBack(f, args);
          return pull(ct);
        },
        [cotangent, ...given],
      ) as unknown[];
    return [checkResult(f(...given)), pullback];
  }
  const start = trace.nodes.length;
  const fresh = given.map(freshArgument);
  const result = checkResult(f(...fresh));
  const pullback = (cotangent: unknown): unknown[] => {
    const [values, definition] = flatten(result);
    const [seeds, given] = flatten(cotangent);
    if (formatTreeDef(definition) !== formatTreeDef(given)) {
      fail(
        "state",
        "vjp",
        `the cotangent must have the structure of the result, ${formatTreeDef(definition)}`,
        formatTreeDef(given),
      );
    }
    const pairs = values.map((value, i) => [value as Tensor, checkSeed(value as Tensor, seeds[i] as Tensor)] as const);
    const grads = backward(trace, start, pairs, tensorLeaves(fresh), stateLeaves(fresh));
    let next = 0;
    return fresh.map((copy) => gradientTree(copy, () => grads[next++]));
  };
  return [result, pullback];
}

function checkResult(result: unknown): unknown {
  refusePromise("vjp", result);
  for (const leaf of flatten(result)[0])
    if (!(leaf instanceof Tensor)) fail("dtype", "vjp", "f must return a tree of tensors", leaf);
  return result;
}

function checkSeed(value: Tensor, seed: Tensor): Tensor {
  if (!(seed instanceof Tensor) || !sameShape(seed.shape, value.shape) || seed.dtype !== value.dtype) {
    fail("shape", "vjp", `the cotangent must be like the result, ${formatAval(value)}`, seed);
  }
  return seed;
}
