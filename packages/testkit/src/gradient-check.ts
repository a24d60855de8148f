/**
 * Gradients against central finite differences, all in float64: for a random direction d and cotangents ȳ,
 *
 *   Σ ȳ·(f(x + h d) − f(x − h d)) / 2h  =  x̄·d
 *
 * where x̄ is what the gradient function says. Where a direction crosses a kink, such as a tie of a maximum, a shorter step
 * does not.
 */
import type { Tensor } from "@te/tensor";
import type { Case, HostArray, OpDefinition } from "@te/tensor/op";
import { fillCase, generator, normal, seedOf } from "./fill.js";
import { drawCotangents, gradientOfCase, orderedNames } from "./gradient.js";
import { oracle, widenArray } from "./oracle.js";

export interface GradientCheckOptions {
  readonly directions?: number;
  /** Steps to try in turn. */
  readonly steps?: readonly number[];
  /** Highest error relative to ‖x̄‖, which is the size that x̄·d has for a normal d. */
  readonly tolerance?: number;
}

/** A function of arrays whose gradient is checked: `pull` takes cotangents of the outputs, then the inputs. */
export interface Differentiable {
  readonly forward: (...inputs: Tensor[]) => readonly Tensor[];
  readonly pull: (...args: Tensor[]) => readonly Tensor[];
  /** Positions of the inputs that `pull` gives gradients for, with names for messages. */
  readonly wrt: readonly { readonly position: number; readonly name: string }[];
}

/** Says which gradient is wrong, or nothing. */
export function findGradientError(
  { forward, pull, wrt }: Differentiable,
  inputs: readonly HostArray[],
  cotangents: readonly HostArray[],
  seed: string,
  { directions = 2, steps = [1e-5, 1e-7], tolerance = 1e-5 }: GradientCheckOptions = {},
): string | undefined {
  const wide = inputs.map(widenArray);
  const gradients = oracle(pull, [...cotangents, ...wide]);
  const weights = cotangents.map((cotangent) => widenArray(cotangent).data);
  const norm = Math.sqrt(sum(weights.map((weight) => dot(weight, weight))));
  const uniform = generator(seedOf(seed));
  const moved = (position: number, d: Float64Array, by: number): HostArray[] =>
    wide.map((input, i) =>
      i === position ? { ...input, data: Float64Array.from(d, (v, k) => input.data[k]! + by * v) } : input,
    );
  const slopeBy = (position: number, d: Float64Array, step: number): number => {
    const up = oracle(forward, moved(position, d, step));
    const down = oracle(forward, moved(position, d, -step));
    return sum(weights.map((weight, o) => dot(weight, change(up[o]!.data, down[o]!.data)))) / (2 * step);
  };
  for (const [k, { position, name }] of wrt.entries()) {
    const gradient = gradients[k]!.data;
    if (gradient.length !== wide[position]!.data.length) return `${name}: the gradient has ${gradient.length} elements`;
    for (let trial = 0; trial < directions; trial++) {
      const d = Float64Array.from(gradient, () => normal(uniform));
      const slope = dot(gradient, d);
      const found = steps.map((step) => slopeBy(position, d, step));
      // Where the gradient vanishes by mathematics, rounding remains of the cotangents' size.
      const size = Math.max(Math.sqrt(dot(gradient, gradient)), 1e-9 * norm);
      if (found.some((value) => Math.abs(slope - value) <= tolerance * Math.max(size, Math.abs(value)))) continue;
      return `${name}: the slope is ${found.join(" or ")} by finite differences, ${slope} by the gradient of size ${size}`;
    }
  }
  return undefined;
}

/** up - down; elements that are infinite, such as the logarithm of no probability at all, do not move. */
const change = (up: ArrayLike<number>, down: ArrayLike<number>): Float64Array =>
  Float64Array.from(up, (value, i) => (value === down[i] ? 0 : value - down[i]!));

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i]! * b[i]!;
  return total;
}

/** Checks the gradient of a case of an op; undefined also when the case has none. */
export function findCaseGradientError(op: OpDefinition, of: Case, options?: GradientCheckOptions): string | undefined {
  const gradient = gradientOfCase(op, of);
  if (!gradient) return undefined;
  const names = orderedNames(op, of);
  const arrays = fillCase(op.name, of);
  const seed = `${op.name}/${of.name}`;
  return findGradientError(
    { ...gradient, wrt: gradient.wrt.map((name) => ({ name, position: names.indexOf(name) })) },
    names.map((name) => arrays[name]!),
    drawCotangents(gradient.avals, seed),
    seed,
    options,
  );
}
