/** What is timed on a GPU besides whole layers: products, attention, and kernels that are bound by memory. */
import { quantizeOp, scaledDotOp } from "@te/fp8";
import {
  gatedActivationBackwardOp,
  gatedActivationOp,
  layerNormBackwardOp,
  layerNormOp,
  layerNormQuantizeOp,
  rmsNormBackwardOp,
  rmsNormOp,
} from "@te/layers";
import { adamwUpdateOp } from "@te/optim";
import { crossEntropy, type DType, dot, full, ones, random, softmax, type Tensor, transpose, zeros } from "@te/tensor";
import { attentionBackwardOp, attentionOp } from "@te/transformer";

type Group = "copies" | "products" | "attention" | "memory" | "small";

/** One function of tensors to time. */
export interface GpuCase {
  readonly group: Group;
  readonly name: string;
  readonly shape: string;
  readonly dtype: DType;
  /** Of one call; left out where memory is the bound. */
  readonly flops?: number;
  readonly inputs: () => Tensor[];
  readonly f: (...inputs: Tensor[]) => Tensor | readonly Tensor[];
  /**
   * The first indices along these axes of the inputs, by position, decide the first indices along the result's axis: what
   * is compared with the CPU. Left out: the first axis of the first input and of the result.
   */
  readonly judged?: { readonly inputs: Readonly<Record<number, number>>; readonly result: number };
}

/** Sizes to time, and small ones to try the bench with. */
export interface Sizes {
  readonly copy: number;
  readonly products: readonly number[];
  readonly attention: {
    readonly batch: number;
    readonly heads: number;
    readonly sequence: number;
    readonly depth: number;
  };
  readonly rows: number;
  readonly columns: number;
  readonly vocabulary: number;
  readonly small: readonly number[];
}

export const SIZES: Sizes = {
  copy: 2 ** 28,
  products: [4096, 8192],
  attention: { batch: 4, heads: 16, sequence: 4096, depth: 128 },
  rows: 16384,
  columns: 4096,
  vocabulary: 50304,
  small: [256, 512, 1024],
};

export const SMALL_SIZES: Sizes = {
  copy: 2 ** 12,
  products: [32, 64],
  attention: { batch: 2, heads: 2, sequence: 64, depth: 32 },
  rows: 16,
  columns: 64,
  vocabulary: 96,
  small: [32],
};

let seeds = 0;
const draw = (shape: readonly number[], dtype: DType = "bfloat16"): Tensor =>
  random.normal(random.key(seeds++), shape, { dtype });

const fp8 = (shape: readonly number[]): Tensor =>
  quantizeOp({ x: draw(shape), scale: full([1], 16) }, { dtype: "float8_e4m3fn" }).q;

export const gpuCases = (sizes: Sizes): GpuCase[] => [
  ...copies(sizes),
  ...sizes.products.flatMap(productsOf),
  ...attention(sizes.attention),
  ...memoryBound(sizes),
  ...sizes.small.flatMap(smallProducts),
];

/** The yardsticks of memory: a copy, and the simplest of all kernels. */
function copies({ copy }: Sizes): GpuCase[] {
  const of = (name: string, f: (x: Tensor) => Tensor): GpuCase => ({
    group: "copies",
    name,
    shape: `${copy}`,
    dtype: "float32",
    inputs: () => [draw([copy], "float32")],
    f,
  });
  return [of("copy", (x) => x), of("negate", (x) => x.neg())];
}

function productsOf(n: number): GpuCase[] {
  const of = (name: string, dtype: DType, inputs: () => Tensor[], f: GpuCase["f"], axis = 0): GpuCase => ({
    group: "products",
    name,
    shape: `${n} × ${n} × ${n}`,
    dtype,
    flops: 2 * n ** 3,
    inputs,
    f,
    judged: { inputs: { 0: axis }, result: 0 },
  });
  const two = () => [draw([n, n]), draw([n, n])];
  const contract = (lhs: number, rhs: number) => (a: Tensor, b: Tensor) =>
    dot(a, b, { lhsContract: [lhs], rhsContract: [rhs] });
  const scales = () => [full([1], 1 / 16), full([1], 1 / 16)];
  return [
    of("a · b", "bfloat16", two, contract(1, 0)),
    of("a · bᵀ", "bfloat16", two, contract(1, 1)),
    of("aᵀ · b", "bfloat16", two, contract(0, 0), 1),
    of(
      "a · bᵀ of FP8",
      "float8_e4m3fn",
      () => [fp8([n, n]), fp8([n, n]), ...scales()],
      (a, b, aScaleInv, bScaleInv) =>
        scaledDotOp(
          { a: a!, b: b!, aScaleInv: aScaleInv!, bScaleInv: bScaleInv! },
          { lhsContract: [1], rhsContract: [1], dtype: "bfloat16" },
        ).y,
    ),
  ];
}

function attention({ batch, heads, sequence, depth }: Sizes["attention"]): GpuCase[] {
  const forward = 2 * batch * heads * sequence * sequence * depth; // a half is hidden
  const params = { scale: depth ** -0.5, causal: true };
  const three = () => [0, 1, 2].map(() => draw([batch, sequence, heads, depth]));
  const common = {
    group: "attention",
    shape: `batch ${batch}, ${heads} heads, sequence ${sequence}, depth ${depth}, causal`,
    dtype: "bfloat16",
  } as const;
  const everyInput = Object.fromEntries(Array.from({ length: 7 }, (_, i) => [i, 0]));
  return [
    {
      ...common,
      name: "forward",
      flops: forward,
      inputs: three,
      f: (q, k, v) => attentionOp({ q: q!, k, v }, params).out,
      judged: { inputs: everyInput, result: 0 },
    },
    {
      ...common,
      name: "backward",
      flops: 2.5 * forward,
      inputs: () => {
        const [q, k, v] = three();
        const { out, max, sum } = attentionOp({ q: q!, k, v }, params);
        return [q!, k!, v!, out, max, sum, draw(out.shape)];
      },
      f: (q, k, v, out, max, sum, dout) => {
        const all = { q: q!, k, v, out: out!, max: max!, sum: sum!, dout: dout! };
        const { dq, dk, dv } = attentionBackwardOp(all, params);
        return [dq, dk, dv];
      },
      judged: { inputs: everyInput, result: 0 },
    },
  ];
}

const parameters = (columns: number) => () => [ones([columns], { dtype: "bfloat16" }), draw([columns])];

function memoryBound({ rows, columns, vocabulary }: Sizes): GpuCase[] {
  const of = (
    name: string,
    shape: readonly number[],
    rest: () => Tensor[],
    f: GpuCase["f"],
    more: Partial<GpuCase> = {},
  ): GpuCase => ({
    group: "memory",
    name,
    shape: shape.join(" × "),
    dtype: more.dtype ?? "bfloat16",
    inputs: () => [draw(shape, more.dtype), ...rest()],
    f,
    ...more,
  });
  const x = [rows, columns];
  const none = () => [];
  const norms = parameters(columns);
  const scale = () => [full([1], 16)];
  const dyOf = { inputs: { 0: 0, 1: 0, 3: 0, 4: 0 }, result: 0 };
  const normed = () => {
    const input = draw(x);
    const [gamma, beta] = norms();
    const { mean, rstd } = layerNormOp({ x: input, gamma: gamma!, beta: beta! });
    return [input, gamma!, mean, rstd];
  };
  const rmsNormed = () => {
    const input = draw(x);
    const [gamma] = norms();
    return [input, gamma!, rmsNormOp({ x: input, gamma: gamma! }).rstd];
  };
  const mlp = [rows, 1, 4 * columns];
  const gated = [rows, 2, 2 * columns];
  return [
    of("layer_norm", x, norms, (a, gamma, beta) => layerNormOp({ x: a!, gamma: gamma!, beta: beta! }).y),
    of(
      "layer_norm backward",
      x,
      normed,
      (dy, a, gamma, mean, rstd) => {
        const all = layerNormBackwardOp({ dy: dy!, x: a!, gamma: gamma!, mean: mean!, rstd: rstd! });
        return [all.dx, all.dgamma, all.dbeta];
      },
      { judged: dyOf },
    ),
    of(
      "layer_norm to FP8",
      x,
      () => [...norms(), ...scale()],
      (a, gamma, beta, s) => {
        const { q, amax, mean, rstd } = layerNormQuantizeOp({ x: a!, gamma: gamma!, beta: beta!, scale: s! });
        return [q, amax, mean, rstd];
      },
    ),
    of(
      "rms_norm",
      x,
      () => norms().slice(0, 1),
      (a, gamma) => rmsNormOp({ x: a!, gamma: gamma! }).y,
    ),
    of(
      "rms_norm backward",
      x,
      rmsNormed,
      (dy, a, gamma, rstd) => {
        const { dx, dgamma } = rmsNormBackwardOp({ dy: dy!, x: a!, gamma: gamma!, rstd: rstd! });
        return [dx, dgamma];
      },
      { judged: { inputs: { 0: 0, 1: 0, 3: 0 }, result: 0 } },
    ),
    of("softmax", x, none, (a) => softmax(a!)),
    of("cast to bfloat16", x, none, (a) => a!.astype("bfloat16"), { dtype: "float32" }),
    of("quantize", x, scale, (a, s) => {
      const { q, amax } = quantizeOp({ x: a!, scale: s! }, { dtype: "float8_e4m3fn" });
      return [q, amax];
    }),
    of("gelu", mlp, none, (u) => gatedActivationOp({ u: u! }, { activations: ["gelu"] }).y),
    of("swiglu", gated, none, (u) => gatedActivationOp({ u: u! }, { activations: ["silu", "linear"] }).y),
    of(
      "swiglu backward",
      [rows, 2 * columns],
      () => [draw(gated)],
      (dy, u) => gatedActivationBackwardOp({ dy: dy!, u: u! }, { activations: ["silu", "linear"] }).du,
      { judged: { inputs: { 0: 0, 1: 0 }, result: 0 } },
    ),
    of(
      "bias and gelu",
      x,
      () => [draw([columns])],
      (a, b) => {
        const u = a!.add(b!);
        return gatedActivationOp({ u: u.reshape([rowsIn(u), 1, columns]) }, { activations: ["gelu"] }).y;
      },
    ),
    of("transpose", x, none, (a) => transpose(a!, [1, 0]), { judged: { inputs: { 0: 1 }, result: 0 } }),
    of("sum of rows", x, none, (a) => a!.sum(0), { judged: { inputs: { 0: 1 }, result: 0 } }),
    of(
      "cross_entropy",
      [rows / 2, vocabulary],
      () => [random.randint(random.key(seeds++), [rows / 2], 0, vocabulary)],
      (logits, targets) => crossEntropy(logits!, targets!),
      { judged: { inputs: { 0: 0, 1: 0 }, result: 0 } },
    ),
    of(
      "adamw",
      x,
      () => [zeros(x), zeros(x), draw(x, "float32"), full([], 1e-3), full([], 1, { dtype: "int32" })],
      (g, m, v, p, lr, count) => {
        const { update, m2, v2 } = adamwUpdateOp({ g: g!, m: m!, v: v!, p: p!, lr: lr!, count: count! });
        return [update, m2, v2];
      },
      { dtype: "float32", judged: { inputs: { 0: 0, 1: 0, 2: 0, 3: 0 }, result: 0 } },
    ),
  ];
}

const rowsIn = (t: Tensor): number => t.shape[0]!;

/** Products that are over before the host has queued the next one. */
const smallProducts = (n: number): GpuCase[] =>
  productsOf(n)
    .filter(({ name }) => name === "a · b" || name.endsWith("FP8"))
    .map((one) => ({ ...one, group: "small" }));
