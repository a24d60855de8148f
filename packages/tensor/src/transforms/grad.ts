import { formatAval, sameShape } from "../aval.js";
import { ones, zeros } from "../create.js";
import { isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { identityOp } from "../ops/mark.js";
import { checkFunction, withDefaults } from "../options.js";
import { Tensor, tensor } from "../tensor.js";
import { currentTrace } from "../trace.js";
import { flatten, formatTreeDef, unflatten } from "../tree.js";
import { backward } from "./backward.js";
import { refusePromise, runTraced, tensorLeaves } from "./run-traced.js";

/** Options of {@link grad} and {@link valueAndGrad}. */
export interface GradOptions {
  /** Positions of the arguments to differentiate (default 0). An array of positions gives an array of gradients. */
  readonly argnums?: number | readonly number[];
  /** f returns [value, aux]; aux is passed through. */
  readonly hasAux?: boolean;
}

/** Fresh names for the arguments, so that only their use through f counts and not f's closure. */
function freshArgument(arg: unknown): unknown {
  const [leaves, definition] = flatten(arg);
  return unflatten(
    definition,
    leaves.map((leaf) => (leaf instanceof Tensor ? identityOp({ x: leaf }).y : leaf)),
  );
}

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
 * f must return a float scalar. A number among the arguments to differentiate by is a float32 scalar. The gradient has the
 * structure of the argument; integer leaves get zeros. Works inside jit and inside another gradient; called on concrete
 * tensors it traces, compiles and runs.
 */
export function valueAndGrad(f: (...args: any[]) => any, options: GradOptions = {}): (...args: any[]) => [any, any] {
  return differentiate("valueAndGrad", f, options);
}

function differentiate(fn: string, f: (...args: any[]) => any, options: GradOptions): (...args: any[]) => [any, any] {
  checkFunction(fn, f);
  const { argnums, hasAux } = withDefaults(fn, options, { argnums: 0, hasAux: false });
  const positions = typeof argnums === "number" ? [argnums] : argnums;
  const traced = (...args: unknown[]): [unknown, unknown] => {
    const trace = currentTrace()!;
    for (const i of positions) {
      if (i >= args.length) fail("option", fn, `argnums must be below the number of arguments, ${args.length}`, i);
    }
    const start = trace.nodes.length;
    const wrt = positions.map((i) => freshArgument(typeof args[i] === "number" ? tensor(args[i]) : args[i]));
    const called = [...args];
    positions.forEach((position, k) => {
      called[position] = wrt[k];
    });
    const result = f(...called);
    refusePromise(fn, result);
    const value = hasAux ? (result as [Tensor, unknown])[0] : result;
    checkScalar(fn, value);
    const grads = backward(trace, start, [[value, ones([], { dtype: value.dtype })]], tensorLeaves(wrt));
    let next = 0;
    const trees = wrt.map((copy) => gradientTree(copy, () => grads[next++]));
    return [result, typeof argnums === "number" ? trees[0] : trees];
  };
  return (...args) => (currentTrace() ? traced(...args) : runTraced(traced, args)) as [any, any];
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
export function grad(f: (...args: any[]) => any, options: GradOptions = {}): (...args: any[]) => any {
  const both = differentiate("grad", f, options);
  return (...args) => {
    const [value, gradient] = both(...args);
    return options.hasAux ? [gradient, value[1]] : gradient;
  };
}

/**
 * f's result at the primals and the function that pulls a cotangent of the result back to cotangents of the primals.
 * The cotangent has the structure, shapes and dtypes of the result.
 */
export function vjp(f: (...args: any[]) => any, ...primals: unknown[]): [any, (cotangent: any) => any[]] {
  checkFunction("vjp", f);
  const trace = currentTrace();
  if (!trace) {
    const pullback = (cotangent: unknown) =>
      runTraced(
        (ct: unknown, ...args: unknown[]) => {
          const [, pull] = vjp(f, ...args);
          return pull(ct);
        },
        [cotangent, ...primals],
      ) as unknown[];
    return [f(...primals), pullback];
  }
  const start = trace.nodes.length;
  const fresh = primals.map((p) => freshArgument(p));
  const result = f(...fresh);
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
    const grads = backward(trace, start, pairs, tensorLeaves(fresh));
    let next = 0;
    return fresh.map((copy) => gradientTree(copy, () => grads[next++]));
  };
  return [result, pullback];
}

function checkSeed(value: Tensor, seed: Tensor): Tensor {
  if (!(seed instanceof Tensor) || !sameShape(seed.shape, value.shape) || seed.dtype !== value.dtype) {
    fail("shape", "vjp", `the cotangent must be like the result, ${formatAval(value)}`, seed);
  }
  return seed;
}
