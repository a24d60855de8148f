/** Values that must lie in a range which shapes cannot tell: places in a cache, lengths, segment ids. */

import { defineOp } from "../define-op.js";
import { fail } from "../errors.js";
import { elementwiseRule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { expectDType } from "./check.js";

/**
 * y = x int32 of any shape; an element outside [low, high] is an error of code "index", whose text `fn`, `what` and `wayOut`
 * make. Like that of a wrong index or label it surfaces where a result of the program is read. Only what uses y is checked.
 */
export const checkRangeOp = defineOp("check_range", {
  inputs: ["x"],
  outputs: ["y"],
  params: { low: 0, high: 0, fn: "checkRange", what: "every element", wayOut: "" },
  checks: true,
  sharding: elementwiseRule,
  inPlace: [["x", "y"]],
  shape: ({ x }, { low, high }) => {
    expectDType("checkRange", { x }, "int32");
    if (!Number.isSafeInteger(low) || !Number.isSafeInteger(high))
      fail("option", "checkRange", "low and high must be integers", [low, high]);
    return { y: x };
  },
  evaluate({ x }, { low, high, fn, what, wayOut }, { y }) {
    const at = x.data.findIndex((value) => value < low || value > high);
    if (at >= 0) {
      const got = x.shape.length ? `${x.data[at]} at position ${at}` : x.data[at];
      fail("index", fn, `${what} must be in [${low}, ${high}]`, got, wayOut);
    }
    if (y.data !== x.data) y.data.set(x.data);
  },
  vjp: () => ({}),
  cases: (c) => [
    c.case("a number", { x: c.integers([], { high: 5 }) }, { high: 5 }),
    c.case("a matrix", { x: c.integers([3, 31], { low: -4, high: 9 }) }, { low: -4, high: 8 }),
    c.case("nothing", { x: c.integers([0], { high: 5 }) }),
    c.bench(
      "64 x 2048 segment ids",
      { x: c.integers([64, 2048], { high: 9 }) },
      { high: 8 },
      { bytes: 2 * 4 * 2 ** 17 },
    ),
  ],
});

/** What {@link checkRange} asks and how it says that an element is outside. */
export interface RangeCheck {
  /** The function that speaks. */
  readonly fn: string;
  /** What the elements are, as in "every length". */
  readonly what: string;
  /** Smallest and largest element allowed. */
  readonly low: number;
  readonly high: number;
  readonly wayOut: string;
}

/** x, an int32 tensor, of which an element outside [low, high] makes the program that uses the result fail. */
export const checkRange = (x: Tensor, check: RangeCheck): Tensor => checkRangeOp({ x }, check).y;
