/** Parts of draws: a random element follows from its index in the whole, so that a part is made without the rest. */
import { checkShape, sizeOf, stridesOf } from "../aval.js";
import { fail } from "../errors.js";
import { expectNumbers, expectObject } from "../expect.js";

/** Where a tensor lies in a larger one: the shape of that, and the index of its first element there. Both are empty where it is all. */
export interface Place {
  readonly of: readonly number[];
  readonly start: readonly number[];
}

/** Throws unless a tensor of this shape can lie there. */
export function checkPlace(fn: string, shape: readonly number[], place: Place): void {
  checkShape(fn, shape);
  expectObject(fn, { place });
  const { of, start } = place;
  expectNumbers(fn, { of, start });
  if (of.length === 0 && start.length === 0) return;
  checkShape(fn, of);
  const isInside = (d: number, i: number): boolean => start[i]! >= 0 && start[i]! + d <= of[i]!;
  if (of.length !== shape.length || start.length !== shape.length || !shape.every(isInside))
    fail("option", fn, `a part of shape [${shape}] must lie in the whole, of shape [${of}]`, start);
}

/** Calls body(at, counter, length) for the runs of a part: elements from `at` on have counters from `counter` on. */
export function forRuns(
  shape: readonly number[],
  { of, start }: Place,
  body: (at: number, counter: number, length: number) => void,
): void {
  let axis = of.length;
  while (axis > 0 && shape[axis - 1] === of[axis - 1]) axis--;
  // The innermost axis that is not whole, and all that is inside of it, makes a run.
  const outer = Math.max(0, axis - 1);
  const [strides, length] = [stridesOf(of), sizeOf(shape.slice(outer))];
  const first = start.reduce((sum, at, i) => sum + at * strides[i]!, 0);
  for (let row = 0; row < sizeOf(shape.slice(0, outer)); row++) {
    let [rest, counter] = [row, first];
    for (let i = outer - 1; i >= 0; i--) {
      counter += (rest % shape[i]!) * strides[i]!;
      rest = Math.floor(rest / shape[i]!);
    }
    body(row * length, counter, length);
  }
}
