/** Elementwise functions of two tensors, with NumPy's broadcasting: one table row each. */
import { aval, broadcastShapes } from "../aval.js";
import { type DType, isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { defineOp, type HostArray } from "../op.js";
import { loadBroadcast, storeNumbers } from "../reference/host.js";
import { integerPower, power } from "../reference/special-functions.js";
import { rule } from "../rule.js";
import type { Tensor } from "../tensor.js";
import { expectSameDType } from "./check.js";
import { promote, sumTo } from "./promote.js";
import { select } from "./select.js";

type Scalar = (a: number, b: number) => number;
type Gradient = (dy: Tensor, a: Tensor, b: Tensor, y: Tensor) => Tensor;
type Kinds = "number" | "bits" | "ordered" | "any";

export interface BinarySpec {
  readonly value: Scalar;
  /** The function on integers, when it is another one. Results wrap around on storing. */
  readonly integer?: Scalar | ((dtype: DType) => Scalar);
  readonly perType?: boolean;
  /** number: no bool. bits: integers and bool. ordered, any: everything. */
  readonly kinds: Kinds;
  /** Comparisons give bool. */
  readonly result?: "bool";
  /** Cotangents of a and b before they are summed back over broadcast axes. */
  readonly gradients?: readonly [Gradient, Gradient];
  /** Where the cases draw a and b from. */
  readonly domain?: readonly [readonly [number, number], readonly [number, number]];
}

export function evaluateBinary(f: Scalar, a: HostArray, b: HostArray, y: HostArray): void {
  const left = loadBroadcast(a, y.shape);
  const right = loadBroadcast(b, y.shape);
  storeNumbers(y, (to) => {
    for (let i = 0; i < to.length; i++) to[i] = f(left[i]!, right[i]!);
  });
}

function checkKinds(name: string, kinds: Kinds, dtype: DType): void {
  if (kinds === "number" && dtype === "bool") {
    fail("dtype", name, "operands must be numbers", dtype, 'Cast them with astype("int32"), or use and, or, xor.');
  }
  if (kinds === "bits" && isFloat(dtype)) {
    fail("dtype", name, "operands must be integers or bool", dtype, "Cast them with astype.");
  }
}

/** Defines y = f(a, b) as a primitive. */
export function binary(name: string, spec: BinarySpec) {
  const {
    value,
    integer,
    kinds,
    result,
    gradients,
    domain = [
      [-3, 3],
      [0.5, 3],
    ],
  } = spec;
  return defineOp(name, {
    inputs: ["a", "b"],
    outputs: ["y"],
    params: {},
    elementwise: true,
    ...(!result && {
      inPlace: [
        ["a", "y"],
        ["b", "y"],
      ] as const,
    }),
    sharding: rule("..., ... -> ..."),
    shape: ({ a, b }) => {
      expectSameDType(name, { a, b });
      checkKinds(name, kinds, a.dtype);
      return { y: aval(broadcastShapes(name, a.shape, b.shape), result ?? a.dtype) };
    },
    evaluate: ({ a, b }, _, { y }) => {
      const forIntegers = spec.perType
        ? (integer as (dtype: DType) => Scalar)(a.dtype)
        : (integer as Scalar | undefined);
      evaluateBinary(isFloat(a.dtype) ? value : (forIntegers ?? value), a, b, y);
    },
    vjp: ({ inputs: { a, b }, outputs: { y }, grads }) =>
      gradients && isFloat(a.dtype)
        ? { a: sumTo(gradients[0](grads.y, a, b, y), a.shape), b: sumTo(gradients[1](grads.y, a, b, y), b.shape) }
        : {},
    cases: (c) => [
      ...(kinds === "bits"
        ? []
        : [
            ...c.product(
              {
                dtype: ["float32", "bfloat16", "float16"] as const,
                shapes: [
                  [[33], [33]],
                  [[4, 31], [31]],
                  [
                    [4, 1, 32],
                    [3, 1],
                  ],
                  [[7], []],
                  [[0, 3], [3]],
                ],
              },
              ({ dtype, shapes }) => ({
                a: c.uniform(shapes[0]!, { dtype, low: domain[0][0], high: domain[0][1] }),
                b: c.uniform(shapes[1]!, { dtype, low: domain[1][0], high: domain[1][1] }),
              }),
            ),
            c.bench(
              "64 MiB float32",
              { a: c.uniform([2 ** 24]), b: c.uniform([2 ** 24], { low: 1, high: 2 }) },
              {},
              { bytes: 3 * 2 ** 26 },
            ),
          ]),
      ...c.product({ dtype: ["int32", "uint32", "uint8"] as const, shape: [[32], [3, 33]] }, ({ dtype, shape }) => ({
        a: c.integers(shape, { dtype, low: dtype === "int32" ? -40 : 0, high: 200 }),
        b: c.integers(shape.slice(-1), { dtype, low: name === "pow" ? 0 : dtype === "int32" ? -4 : 0, high: 7 }),
      })),
      ...(kinds === "number" ? [] : [c.case("bool", { a: c.bools([31]), b: c.bools([31]) })]),
    ],
  });
}

const isOne = (x: Tensor, of: Tensor): Tensor => select(x, of, 0);

export const addOp = binary("add", { value: (a, b) => a + b, kinds: "number", gradients: [(dy) => dy, (dy) => dy] });
export const subOp = binary("sub", {
  value: (a, b) => a - b,
  kinds: "number",
  gradients: [(dy) => dy, (dy) => dy.neg()],
});
export const mulOp = binary("mul", {
  value: (a, b) => a * b,
  integer: Math.imul,
  kinds: "number",
  gradients: [(dy, _, b) => dy.mul(b), (dy, a) => dy.mul(a)],
});
export const divOp = binary("div", {
  value: (a, b) => a / b,
  // Division by zero gives all ones, as in XLA.
  integer: (a, b) => (b === 0 ? -1 : Math.trunc(a / b)),
  kinds: "number",
  gradients: [(dy, _, b) => dy.div(b), (dy, _a, b, y) => dy.mul(y).div(b).neg()],
});
export const powOp = binary("pow", {
  value: power,
  integer: integerPower,
  kinds: "number",
  // At b = 0 the first factor is 0 and at a = 0 the logarithm is taken as 0, so that neither makes 0 · ∞.
  gradients: [
    (dy, a, b) => dy.mul(select(b.eq(0), 0, b.mul(pow(a, select(b.eq(0), 1, b.sub(1)))))),
    (dy, a, _, y) => dy.mul(select(a.eq(0), 1, a).log().mul(y)),
  ],
  domain: [
    [0.5, 2],
    [-2, 2],
  ],
});
export const maximumOp = binary("maximum", {
  value: Math.max,
  kinds: "ordered",
  gradients: [(dy, a, b) => shareTies(dy, a, b, a.gt(b)), (dy, a, b) => shareTies(dy, a, b, b.gt(a))],
});
export const minimumOp = binary("minimum", {
  value: Math.min,
  kinds: "ordered",
  gradients: [(dy, a, b) => shareTies(dy, a, b, a.lt(b)), (dy, a, b) => shareTies(dy, a, b, b.lt(a))],
});
export const remOp = binary("rem", {
  value: (a, b) => a % b,
  integer: (a, b) => (b === 0 ? a : a % b),
  kinds: "number",
  gradients: [(dy) => dy, (dy, a, b) => dy.mul(truncate(a.div(b))).neg()],
  domain: [
    [0.1, 0.4],
    [0.5, 3],
  ],
});

/** Operands that are equal share the cotangent. */
const shareTies = (dy: Tensor, a: Tensor, b: Tensor, wins: Tensor): Tensor =>
  select(a.eq(b), dy.mul(0.5), isOne(wins, dy));
const truncate = (x: Tensor): Tensor => x.sign().mul(x.abs().floor());

export const andOp = binary("and", { value: (a, b) => a & b, kinds: "bits" });
export const orOp = binary("or", { value: (a, b) => a | b, kinds: "bits" });
export const xorOp = binary("xor", { value: (a, b) => a ^ b, kinds: "bits" });

const widthOf = (dtype: DType): number => (dtype === "uint8" ? 8 : dtype === "bool" ? 1 : 32);
/** A shift by the width or more moves every bit out; a negative count is a large one. */
const isTooFar = (count: number, dtype: DType): boolean => count < 0 || count >= widthOf(dtype);

export const shiftLeftOp = binary("shift_left", {
  value: (a, b) => a << b,
  perType: true,
  integer: (dtype: DType) => (a: number, b: number) => (isTooFar(b, dtype) ? 0 : a << b),
  kinds: "bits",
});
/** Arithmetic for int32, logical for unsigned types. */
export const shiftRightOp = binary("shift_right", {
  value: (a, b) => a >> b,
  perType: true,
  integer: (dtype: DType) => (a: number, b: number) => {
    if (dtype === "int32") return a >> (isTooFar(b, dtype) ? 31 : b);
    return isTooFar(b, dtype) ? 0 : a >>> b;
  },
  kinds: "bits",
});

const compare = (value: (a: number, b: number) => boolean, kinds: Kinds): BinarySpec => ({
  value: value as unknown as Scalar,
  kinds,
  result: "bool",
});
export const eqOp = binary(
  "eq",
  compare((a, b) => a === b, "any"),
);
export const neOp = binary(
  "ne",
  compare((a, b) => a !== b, "any"),
);
export const ltOp = binary(
  "lt",
  compare((a, b) => a < b, "ordered"),
);
export const leOp = binary(
  "le",
  compare((a, b) => a <= b, "ordered"),
);
export const gtOp = binary(
  "gt",
  compare((a, b) => a > b, "ordered"),
);
export const geOp = binary(
  "ge",
  compare((a, b) => a >= b, "ordered"),
);

/** An operand: a number takes the dtype of the tensor beside it. */
export type TensorLike = Tensor | number;
type BinaryOp = typeof addOp;

const apply = (op: BinaryOp, a: TensorLike, b: TensorLike): Tensor => {
  const [left, right] = promote(op.definition.name, a, b);
  return op({ a: left, b: right }).y;
};

/** a + b. */
export const add = (a: TensorLike, b: TensorLike): Tensor => apply(addOp, a, b);
/** a - b. */
export const sub = (a: TensorLike, b: TensorLike): Tensor => apply(subOp, a, b);
/** a · b, elementwise. */
export const mul = (a: TensorLike, b: TensorLike): Tensor => apply(mulOp, a, b);
/** a / b. Integers truncate toward zero; x / 0 has all bits set. */
export const div = (a: TensorLike, b: TensorLike): Tensor => apply(divOp, a, b);
/** The larger operand; NaN if either is NaN. Ties share the gradient. */
export const maximum = (a: TensorLike, b: TensorLike): Tensor => apply(maximumOp, a, b);
/** The smaller operand; NaN if either is NaN. Ties share the gradient. */
export const minimum = (a: TensorLike, b: TensorLike): Tensor => apply(minimumOp, a, b);
/** The remainder of truncated division, with the sign of a. Integers: x rem 0 = x. */
export const rem = (a: TensorLike, b: TensorLike): Tensor => apply(remOp, a, b);
/** a to the power b. Integers: modulo 2^32, a negative exponent truncates toward zero. */
export function pow(a: TensorLike, b: TensorLike): Tensor {
  if (typeof b === "number" && typeof a !== "number") {
    if (b === 1) return a;
    if (b === 2) return a.mul(a);
    if (b === 3) return a.mul(a).mul(a);
    if (b === 0.5 && isFloat(a.dtype)) return a.sqrt();
  }
  return apply(powOp, a, b);
}

/** Bitwise and of integers, logical and of bool. */
export const and = (a: TensorLike, b: TensorLike): Tensor => apply(andOp, a, b);
/** Bitwise or of integers, logical or of bool. */
export const or = (a: TensorLike, b: TensorLike): Tensor => apply(orOp, a, b);
/** Bitwise exclusive or. */
export const xor = (a: TensorLike, b: TensorLike): Tensor => apply(xorOp, a, b);
/** Shifts the bits of a to the left by b places; 0 when b reaches the width. */
export const shiftLeft = (a: TensorLike, b: TensorLike): Tensor => apply(shiftLeftOp, a, b);
/** Shifts the bits of a to the right by b places: int32 keeps the sign, unsigned types fill with 0. */
export const shiftRight = (a: TensorLike, b: TensorLike): Tensor => apply(shiftRightOp, a, b);

/** a = b, as bool. NaN equals nothing. */
export const eq = (a: TensorLike, b: TensorLike): Tensor => apply(eqOp, a, b);
/** a ≠ b, as bool. */
export const ne = (a: TensorLike, b: TensorLike): Tensor => apply(neOp, a, b);
/** a < b, as bool. */
export const lt = (a: TensorLike, b: TensorLike): Tensor => apply(ltOp, a, b);
/** a ≤ b, as bool. */
export const le = (a: TensorLike, b: TensorLike): Tensor => apply(leOp, a, b);
/** a > b, as bool. */
export const gt = (a: TensorLike, b: TensorLike): Tensor => apply(gtOp, a, b);
/** a ≥ b, as bool. */
export const ge = (a: TensorLike, b: TensorLike): Tensor => apply(geOp, a, b);

const toBool = (x: Tensor): Tensor => (x.dtype === "bool" ? x : x.ne(0));

/** Both true; numbers count as true when they are not 0. */
export const logicalAnd = (a: Tensor, b: Tensor): Tensor => and(toBool(a), toBool(b));
/** Either true. */
export const logicalOr = (a: Tensor, b: Tensor): Tensor => or(toBool(a), toBool(b));
/** Exactly one true. */
export const logicalXor = (a: Tensor, b: Tensor): Tensor => xor(toBool(a), toBool(b));
