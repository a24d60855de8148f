/** Elementwise functions of one tensor: one table row each. */
import type { Aval } from "../aval.js";
import { defineOp } from "../define-op.js";
import { isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { erfInv32 } from "../reference/erf-inv-float32.js";
import { loadFloat64, storeNumbers } from "../reference/host.js";
import { erfInv as erfInvValue, erf as erfValue, roundHalfEven } from "../reference/special-functions.js";
import { elementwiseRule } from "../sharding/rule.js";
import { Tensor } from "../tensor.js";
import { cast } from "./cast.js";

/** Fills y from x, element by element. */
type UnaryLoop = (x: Float64Array, y: Float64Array) => void;

interface UnarySpec {
  readonly loop: UnaryLoop;
  /** As kernels compute it in float32, where that is not the rounded value; the wide evaluator takes `loop`. */
  readonly roundedLoop?: UnaryLoop;
  /** Integers are taken as they are; without this the user's function casts them to float32 first. */
  readonly integers?: boolean;
  readonly linear?: true;
  /** dy · f'(x), given x and y = f(x). None: the derivative is zero. */
  readonly gradient?: (dy: Tensor, x: Tensor, y: Tensor) => Tensor;
  /** Where the cases draw from, to stay inside the domain and away from kinks. */
  readonly domain?: readonly [low: number, high: number];
}

/** Defines y = f(x) as a primitive. */
function unary(name: string, { loop, roundedLoop = loop, integers, linear, gradient, domain = [-3, 3] }: UnarySpec) {
  return defineOp(name, {
    inputs: ["x"],
    outputs: ["y"],
    params: {},
    elementwise: true,
    ...(linear && { linear }),
    inPlace: [["x", "y"]],
    sharding: elementwiseRule,
    shape: ({ x }: { x: Aval }) => {
      if (x.dtype === "bool" || (!integers && !isFloat(x.dtype))) {
        fail(
          "dtype",
          name,
          `x must be ${integers ? "a number type" : "floating"}`,
          x,
          'Cast it with astype("float32").',
        );
      }
      return { y: x };
    },
    evaluate: ({ x }, _, { y }) => {
      const run = y.data instanceof Float64Array ? loop : roundedLoop;
      storeNumbers(y, (to) => run(loadFloat64(x), to));
    },
    vjp: ({ inputs, outputs, grads }) => (gradient ? { x: gradient(grads.y, inputs.x, outputs.y) } : {}),
    cases: (c) => [
      ...c.product({ dtype: ["float32", "bfloat16", "float16"] as const, shape: [[31], [4, 33], [0, 3], []] }, (o) => ({
        x: c.uniform(o.shape, { dtype: o.dtype, low: domain[0], high: domain[1] }),
      })),
      ...(integers ? [c.case("int32", { x: c.integers([5, 32], { low: -50, high: 50 }) })] : []),
      c.bench(
        "64 MiB float32",
        { x: c.uniform([16, 1024, 1024], { low: domain[0], high: domain[1] }) },
        {},
        { bytes: 2 ** 27 },
      ),
    ],
  });
}

export const negOp = unary("neg", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = -x[i]!;
  },
  integers: true,
  linear: true,
  gradient: (dy) => dy.neg(),
});
export const absOp = unary("abs", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.abs(x[i]!);
  },
  integers: true,
  gradient: (dy, x) => dy.mul(x.sign()),
  domain: [0.25, 3],
});
export const signOp = unary("sign", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.sign(x[i]!);
  },
  integers: true,
  domain: [0.25, 3],
});
export const squareOp = unary("square", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = x[i]! * x[i]!;
  },
  integers: true,
  gradient: (dy, x) => dy.mul(x.mul(2)),
});
export const expOp = unary("exp", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.exp(x[i]!);
  },
  gradient: (dy, _, y) => dy.mul(y),
});
export const logOp = unary("log", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.log(x[i]!);
  },
  gradient: (dy, x) => dy.div(x),
  domain: [0.25, 4],
});
export const log1pOp = unary("log1p", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.log1p(x[i]!);
  },
  gradient: (dy, x) => dy.div(x.add(1)),
  domain: [-0.75, 3],
});
export const expm1Op = unary("expm1", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.expm1(x[i]!);
  },
  gradient: (dy, _, y) => dy.mul(y.add(1)),
});
export const sqrtOp = unary("sqrt", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.sqrt(x[i]!);
  },
  gradient: (dy, _, y) => dy.mul(0.5).div(y),
  domain: [0.25, 4],
});
export const rsqrtOp = unary("rsqrt", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = 1 / Math.sqrt(x[i]!);
  },
  gradient: (dy, x, y) => dy.mul(-0.5).mul(y.div(x)),
  domain: [0.25, 4],
});
export const sinOp = unary("sin", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.sin(x[i]!);
  },
  gradient: (dy, x) => dy.mul(x.cos()),
});
export const cosOp = unary("cos", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.cos(x[i]!);
  },
  gradient: (dy, x) => dy.mul(x.sin()).neg(),
});
// Near ±1 a rounded y leaves little of 1 - y², so the cases of these two stay in the middle.
export const tanhOp = unary("tanh", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.tanh(x[i]!);
  },
  gradient: (dy, _, y) => dy.mul(y.mul(y).neg().add(1)),
  domain: [-1, 1],
});
export const sigmoidOp = unary("sigmoid", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = 1 / (1 + Math.exp(-x[i]!));
  },
  gradient: (dy, _, y) => dy.mul(y.mul(y.neg().add(1))),
  domain: [-1.5, 1.5],
});
export const erfOp = unary("erf", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = erfValue(x[i]!);
  },
  gradient: (dy, x) =>
    dy.mul(
      x
        .mul(x)
        .neg()
        .exp()
        .mul(2 / Math.sqrt(Math.PI)),
    ),
});
export const erfInvOp = unary("erf_inv", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = erfInvValue(x[i]!);
  },
  roundedLoop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = erfInv32(x[i]!);
  },
  gradient: (dy, _, y) =>
    dy.mul(
      y
        .mul(y)
        .exp()
        .mul(Math.sqrt(Math.PI) / 2),
    ),
  domain: [-0.9, 0.9],
});
export const floorOp = unary("floor", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.floor(x[i]!);
  },
  domain: [0.1, 0.9],
});
export const ceilOp = unary("ceil", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.ceil(x[i]!);
  },
  domain: [0.1, 0.9],
});
export const roundOp = unary("round", {
  loop: (x, y) => {
    for (let i = 0; i < y.length; i++) y[i] = roundHalfEven(x[i]!);
  },
  domain: [0.6, 1.4],
});

/** For functions that give floats: integers and booleans become float32. */
const asFloat = (x: Tensor): Tensor => (isWhole(x) ? cast(x, "float32") : x);

/** Whether x holds integers or booleans. What is no tensor does not, and the op refuses it by its name. */
const isWhole = (x: Tensor): boolean => x instanceof Tensor && !isFloat(x.dtype);

/** -x. */
export const neg = (x: Tensor): Tensor => negOp({ x }).y;
/** |x|; the gradient at 0 is 0. */
export const abs = (x: Tensor): Tensor => absOp({ x }).y;
/** -1, 0 or 1; NaN stays NaN. */
export const sign = (x: Tensor): Tensor => signOp({ x }).y;
/** x²; integers wrap as products do. */
export const square = (x: Tensor): Tensor => squareOp({ x }).y;
/** e^x. */
export const exp = (x: Tensor): Tensor => expOp({ x: asFloat(x) }).y;
/** The natural logarithm. */
export const log = (x: Tensor): Tensor => logOp({ x: asFloat(x) }).y;
/** log(1 + x), exact near 0. */
export const log1p = (x: Tensor): Tensor => log1pOp({ x: asFloat(x) }).y;
/** e^x - 1, exact near 0. */
export const expm1 = (x: Tensor): Tensor => expm1Op({ x: asFloat(x) }).y;
/** √x; NaN below 0. */
export const sqrt = (x: Tensor): Tensor => sqrtOp({ x: asFloat(x) }).y;
/** 1/√x. */
export const rsqrt = (x: Tensor): Tensor => rsqrtOp({ x: asFloat(x) }).y;
export const sin = (x: Tensor): Tensor => sinOp({ x: asFloat(x) }).y;
export const cos = (x: Tensor): Tensor => cosOp({ x: asFloat(x) }).y;
export const tanh = (x: Tensor): Tensor => tanhOp({ x: asFloat(x) }).y;
/** 1 / (1 + e^-x). */
export const sigmoid = (x: Tensor): Tensor => sigmoidOp({ x: asFloat(x) }).y;
/** The error function, 2/√π ∫₀ˣ e^(-t²) dt. */
export const erf = (x: Tensor): Tensor => erfOp({ x: asFloat(x) }).y;
/** The inverse of erf on (-1, 1). */
export const erfInv = (x: Tensor): Tensor => erfInvOp({ x: asFloat(x) }).y;
/** Rounds down; integers are returned as they are. */
export const floor = (x: Tensor): Tensor => (isWhole(x) ? x : floorOp({ x }).y);
/** Rounds up; integers are returned as they are. */
export const ceil = (x: Tensor): Tensor => (isWhole(x) ? x : ceilOp({ x }).y);
/** Rounds to the nearest integer, halves to even; integers are returned as they are. */
export const round = (x: Tensor): Tensor => (isWhole(x) ? x : roundOp({ x }).y);
