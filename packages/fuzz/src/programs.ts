/**
 * Random programs that are right: natively as on the reference, compiled as eagerly, gradients too. Rounding is allowed
 * for by the table of tolerances, and where a program amplifies it, by what the rounding reference itself is off by.
 */
import { gatedActivationOp, layerNormOp, rmsNormOp } from "@te/layers";
import {
  concat,
  type DType,
  dot,
  grad,
  jit,
  logSoftmax,
  logsumexp,
  makeProgram,
  pad,
  setDevice,
  softmax,
  type Tensor,
  tensor,
} from "@te/tensor";
import type { HostArray } from "@te/tensor/op";
import {
  errorN,
  errorX,
  findBitDifference,
  limitOf,
  oracle,
  presentDevices,
  toTensor,
  valuesOf,
  widen,
} from "@te/testkit";
import { attentionOp, rope } from "@te/transformer";
import type { Call } from "./call.js";
import type { Draw } from "./draw.js";
import { drawTensor } from "./nasty.js";

/** Makes a value of some before it. */
interface Step {
  readonly text: string;
  readonly apply: (values: readonly Tensor[]) => Tensor;
}

type Maker = (
  draw: Draw,
  x: Tensor,
  others: readonly Tensor[],
) => [text: string, f: (x: Tensor, y: Tensor) => Tensor] | undefined;

const WIDEST = 600;

const unary =
  (name: string, f: (x: Tensor) => Tensor): Maker =>
  () => [name, f];
const alongAxis =
  (name: string, f: (x: Tensor, axis: number) => Tensor): Maker =>
  (draw, x) => {
    if (x.rank === 0) return undefined;
    const axis = draw.below(x.rank);
    return [`${name} ${axis}`, (t) => f(t, axis)];
  };
const rows =
  (name: string, f: (x: Tensor, n: number) => Tensor): Maker =>
  (_, x) =>
    x.rank > 0 && x.shape.at(-1)! > 1 ? [name, (t) => f(t, t.shape.at(-1)!)] : undefined;

const constant = (like: Tensor, shape: readonly number[], value = 1): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => value + Math.sin(i) / 2),
    { shape },
  ).astype(like.dtype);

/** Every maker keeps numbers near 1, so that rounding stays rounding. */
const MAKERS: readonly Maker[] = [
  unary("tanh", (x) => x.tanh()),
  unary("sigmoid", (x) => x.sigmoid()),
  unary("sin", (x) => x.sin()),
  unary("neg", (x) => x.neg()),
  unary("x * 0.5 + 1", (x) => x.mul(0.5).add(1)),
  unary("sqrt(x² + 1)", (x) => x.mul(x).add(1).sqrt()),
  unary("1 / (x² + 1)", (x) => x.mul(x).add(1).pow(-1)),
  unary("erf", (x) => x.erf()),
  unary("exp(-x²)", (x) => x.mul(x).neg().exp()),
  unary("flatten", (x) => x.flatten()),
  alongAxis("mean", (x, axis) => x.mean(axis)),
  alongAxis("x - mean", (x, axis) => x.sub(x.mean(axis, { keepDims: true }))),
  alongAxis("sum / length", (x, axis) => x.sum(axis).mul(1 / Math.max(x.shape[axis]!, 1))),
  alongAxis("flip", (x, axis) => x.flip(axis)),
  alongAxis("expandDims", (x, axis) => x.expandDims(axis)),
  alongAxis("softmax", (x, axis) => softmax(x, axis).mul(x.shape[axis]!)),
  alongAxis("logSoftmax", (x, axis) => logSoftmax(x.tanh(), axis)),
  alongAxis("logsumexp", (x, axis) => (x.shape[axis] ? logsumexp(x.tanh(), axis) : x)),
  alongAxis("cumsum / length", (x, axis) => x.cumsum(axis).mul(1 / Math.max(x.shape[axis]!, 1))),
  alongAxis("swapAxes", (x, axis) => x.swapAxes(0, axis)),
  alongAxis("concat", (x, axis) => concat([x, x.mul(0.5)], axis)),
  alongAxis("slice", (x, axis) => x.slice(x.shape.map((d, i) => (i === axis && d > 1 ? 1 : 0)))),
  alongAxis("pad", (x, axis) =>
    pad(
      x,
      x.shape.map((_, i) => Number(i === axis)),
      x.shape.map(() => 0),
      0.5,
    ),
  ),
  alongAxis("take", (x, axis) =>
    x.shape[axis] ? x.take(tensor(Int32Array.of(0, x.shape[axis] - 1, 0)), { axis }) : x,
  ),
  (_, x, others) => {
    const y = others.findIndex(
      (o) => o.dtype === x.dtype && o.rank <= x.rank && o.shape.every((d, i) => d === x.shape[x.rank - o.rank + i]),
    );
    return y < 0 ? undefined : [`x · %${y} + %${y}`, (t, other) => t.mul(other.tanh()).add(other).mul(0.5)];
  },
  rows("dot", (x, n) => dot(x, constant(x, [n, 5], 0)).mul(2 / Math.sqrt(n))),
  rows("dot with bias", (x, n) => dot(x, constant(x, [n, 4], 0), { bias: constant(x, [4]) }).mul(2 / Math.sqrt(n))),
  rows(
    "layerNorm",
    (x, n) => layerNormOp({ x, gamma: constant(x, [n]), beta: constant(x, [n], 0) }, { epsilon: 0.1 }).y,
  ),
  rows("rmsNorm", (x, n) => rmsNormOp({ x, gamma: constant(x, [n]) }, { epsilon: 0.1 }).y),
  rows("gelu", (x) => gatedActivationOp({ u: x.expandDims(-2) }, { activations: ["gelu"] }).y),
  rows(
    "swiglu",
    (x, n) =>
      gatedActivationOp(
        { u: concat([x, x.flip(-1)], -1).reshape([...x.shape.slice(0, -1), 2, n]) },
        { activations: ["silu", "linear"] },
      ).y,
  ),
  rows("attention", (x, n) => {
    if (n % 2 || x.size === 0) return x;
    const q = x.reshape([1, x.size / n, 1, n]);
    return attentionOp({ q, k: q.sin(), v: q.cos() }, { causal: true }).out;
  }),
  rows("rope", (x, n) => (n % 2 || x.size === 0 ? x : rope(x.reshape([1, x.size / n, 1, n])))),
];

const DTYPES: readonly DType[] = ["float32", "float32", "float32", "bfloat16", "float16"];

/** Inputs and steps; steps that do not fit are left out. */
function drawProgram(draw: Draw): { inputs: Tensor[]; steps: Step[] } {
  const dtype = draw.pick(DTYPES);
  const shape = Array.from({ length: draw.integer(1, 3) }, () => draw.pick([0, 1, 2, 3, 4, 7, 8, 17]));
  const inputs = [drawTensor(draw, shape, dtype), drawTensor(draw, shape.slice(draw.below(2)), dtype)];
  const steps: Step[] = [];
  const count = draw.integer(1, 8);
  makeProgram((...traced: Tensor[]) => {
    const values = [...traced];
    for (let i = 0; i < count; i++) {
      const at = draw.chance(0.7) ? values.length - 1 : draw.below(values.length);
      const made = draw.pick(MAKERS)(draw, values[at]!, values);
      if (!made) continue;
      const other = Number(/%(\d+)/.exec(made[0])?.[1] ?? at);
      const step = { text: `${made[0]} of %${at}`, apply: (of: readonly Tensor[]) => made[1](of[at]!, of[other]!) };
      const result = step.apply(values);
      if (result.size > WIDEST || result.rank > 5) continue;
      steps.push(step);
      values.push(result);
    }
    return values;
  })(...inputs);
  return { inputs, steps };
}

export function programCall(draw: Draw): Call {
  const { inputs, steps } = drawProgram(draw);
  const forward = (...given: Tensor[]): Tensor[] => {
    const values = [...given];
    for (const { apply } of steps) values.push(apply(values));
    return [values.at(-1)!];
  };
  const loss = (...given: Tensor[]): Tensor => {
    const [y] = forward(...given);
    return y!.astype("float32").mul(constant(y!, y!.shape).astype("float32")).sum();
  };
  const backward = (...given: Tensor[]): Tensor[] => grad(loss, { argnums: given.map((_, i) => i) })(...given);
  const shown = inputs.map((t) => `${t.dtype}[${t.shape}]`);
  return {
    kind: "program",
    text: `program of ${shown.join(" ")}: ${steps.map(({ text }, i) => `%${i + inputs.length} = ${text}`).join("; ")}`,
    run: async () => {
      const given = await Promise.all(
        inputs.map(async (t) => ({ shape: t.shape, dtype: t.dtype, data: await t.data() })),
      );
      return judge(forward, given, "result") ?? judge(backward, given, "gradient");
    },
  };
}

/** What is wrong with f on any device, or undefined. */
function judge(f: (...given: Tensor[]) => Tensor[], given: readonly HostArray[], what: string): string | undefined {
  const wide = oracle(f, given);
  const rounded = oracle(f, given, { wide: false });
  for (const device of presentDevices().filter((name) => name !== "cuda")) {
    setDevice(device);
    const eager = f(...given.map(toTensor));
    const compiled = jit(f)(...given.map(toTensor));
    for (const [i, result] of compiled.entries()) {
      const odd = findBitDifference(result, eager[i]!);
      if (odd) return `${what} ${i} on ${device}, compiled against eager: ${odd}`;
      const off = findExcess(result, wide[i]!, rounded[i]!);
      if (off) return `${what} ${i} on ${device}: ${off}`;
    }
  }
  return undefined;
}

/** Times by which a device may be further off than the rounding reference. */
const AMPLIFIED = 8;
const FEW_NODES = 4;
/** Smaller results are what rounding leaves of numbers near 1 that cancel: they are judged beside 1, not by each other. */
const CANCELLED = 2 ** -40;

function findExcess(result: Tensor, wide: HostArray, rounded: HostArray): string | undefined {
  const [t, r, own] = [valuesOf(result).values, valuesOf(wide).values, valuesOf(rounded).values];
  const odd = Array.from(r).findIndex(
    (value, i) => Number.isFinite(value) !== Number.isFinite(t[i]!) && !(Math.abs(value) > 3e4),
  );
  if (odd >= 0) return `element ${odd} is ${t[odd]} instead of ${r[odd]}`;
  const limit = widen(limitOf("composed", result.dtype), FEW_NODES);
  if (Array.from(r).every((value) => Math.abs(value) < CANCELLED)) {
    const largest = Array.from(t).reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    return largest <= limit.x ? undefined : `${largest.toExponential(1)} instead of 0`;
  }
  const [n, x] = [errorN(t, r), errorX(t, r)];
  if (n <= Math.max(limit.n, AMPLIFIED * errorN(own, r)) && x <= Math.max(limit.x, AMPLIFIED * errorX(own, r)))
    return undefined;
  return `off by N = ${n.toExponential(1)}, X = ${x.toExponential(1)}; the rounding reference by ${errorN(own, r).toExponential(1)}`;
}
