/** The op `attention` and its backward ops, and attention with a name for checkpoint policies. */
import { type Aval, checkpointName, customVjp, type Tensor, zerosLike } from "@te/tensor";
import { defineOp, fail } from "@te/tensor/op";
import { attentionCases } from "./attention-cases.js";
import {
  ATTENTION_DEFAULTS,
  ATTENTION_KINDS,
  type AttentionOperands,
  type AttentionParams,
  outShape,
  readAttention,
  readBackward,
  SHARED_OPERANDS,
  type Statistics,
} from "./attention-problem.js";
import {
  attentionBackwardReference,
  attentionBiasBackwardReference,
  attentionReference,
  meanGradient,
  weightOf,
} from "./attention-reference.js";
import { attentionBackwardRule, attentionRule, placed } from "./attention-rule.js";

const NOTHING = (dtype: Aval["dtype"]): Aval => ({ shape: [0], dtype });

/** Operands of both backward ops; out, max and sum are what attention gave, dlse is the cotangent of max + log(sum). */
const BACKWARD = {
  inputs: ["q", "out", "max", "sum", "dout"],
  optional: [...SHARED_OPERANDS, "key", "dlse"],
} as const;

/**
 * Gradients of attention. → dq, dk and dv like q, k and v. With packing "qkv" dq is the packed gradient and dk and dv are
 * empty ([0]); with "kv" dk is packed and dv empty. Rows that see nothing give zeros.
 */
export const attentionBackwardOp = defineOp("attention_backward", {
  ...BACKWARD,
  outputs: ["dq", "dk", "dv"],
  judgedAs: {
    values: { dq: "attention", dk: "attentionKeyValue", dv: "attentionKeyValue" },
  },
  params: ATTENTION_DEFAULTS,
  kinds: ATTENTION_KINDS,
  shape(x, params) {
    readBackward(x, params);
    return { dq: x.q, dk: x.k ?? NOTHING(x.q.dtype), dv: x.v ?? NOTHING(x.q.dtype) };
  },
  sharding: (x, params) => attentionBackwardRule(x, params, readBackward(x, params), ["q", "k", "v"]),
  onShard: (x, params, shard, op) => op(...placed(x, params, shard)),
  reference: attentionBackwardReference,
  cases: (c) => attentionCases(c, "backward"),
});

/** Gradient of the bias of attention. → dbias like bias. A separate op, so that it costs nothing when it is not wanted. */
export const attentionBiasBackwardOp = defineOp("attention_bias_backward", {
  ...BACKWARD,
  outputs: ["dbias"],
  judgedAs: { values: { dbias: "attentionKeyValue" } },
  params: ATTENTION_DEFAULTS,
  kinds: ATTENTION_KINDS,
  shape(x, params) {
    readBackward(x, params);
    return { dbias: x.bias ?? fail("option", "attentionBiasBackward", "a bias is needed", "none") };
  },
  sharding: (x, params) => attentionBackwardRule(x, params, readBackward(x, params), ["bias"]),
  onShard: (x, params, shard, op) => op(...placed(x, params, shard)),
  reference: attentionBiasBackwardReference,
  cases: (c) => attentionCases(c, "bias"),
});

/**
 * out = dropout(softmax(scale * q·kᵀ + bias)) · v over the keys that each query sees, with the statistics of its logits.
 *
 * q [B, Sq, h, d], k [B, Skv, g, d], v [B, Skv, g, dv] of one float dtype (layout "sbhd": the first two axes swapped;
 * packed: see AttentionParams). Query head n reads key head floor(n / (h/g)). bias [1|B, 1|h, Sq, Skv]. A key is hidden by
 * mask (bool or uint8 [1|B, 1|h, 1|Sq, Skv], 1 = hidden), by segments (int32 [B, Sq] and [B, Skv]: only equal ids other
 * than 0 see each other), by `causal` and by the window, which count in positions (int32 [B, Sq], [B, Skv]) where given and
 * in indices otherwise. sink float32 [h]. key uint32 [2]: the weight (b, n, i, j) is kept when uniform(key, [B, h, Sq, Skv])
 * there is below 1 - dropout, and divided by that; of a part of a call, (b, n, i, j) is its place in the whole. → out like q
 * with the depth of v; max and sum (see attention-problem.ts).
 * Everything is computed in float32.
 *
 * What is hidden contributes nothing to results and gradients, whatever it holds. A bias or a logit of -inf hides its
 * key too, and dropout the value. A row that sees nothing gives zeros, max -inf (or the sink) and a sum of
 * 0 (or 1). Every other key has a weight above 0: finite biases hide nothing, a row of -1e9 alone is that of 0, and NaN or an
 * infinity in what a query sees reaches it, and the gradients of what it sees, even where float32 cannot hold the weight.
 *
 * Gradients flow through max + log(sum), which is given out by sum; max alone has none.
 */
export const attentionOp = defineOp("attention", {
  inputs: ["q"],
  optional: [...SHARED_OPERANDS, "sink", "key"],
  outputs: ["out", "max", "sum"],
  saved: ["max", "sum"],
  judgedAs: {
    values: "attention",
    gradients: {
      q: "attention",
      k: "attentionKeyValue",
      v: "attentionKeyValue",
      bias: "attentionKeyValue",
      sink: "attentionKeyValue",
    },
  },
  params: ATTENTION_DEFAULTS,
  kinds: ATTENTION_KINDS,
  shape(x, params) {
    const sizes = readAttention(x, params);
    const { batch, heads, queries } = sizes;
    const rows: Aval = { shape: [batch, heads, queries], dtype: "float32" };
    return { out: { shape: outShape(sizes, params), dtype: x.q.dtype }, max: rows, sum: rows };
  },
  sharding: (x, params) => attentionRule(x, params, readAttention(x, params)),
  onShard: (x, params, shard, op) => op(...placed(x, params, shard)),
  reference: attentionReference,
  vjp({ inputs, outputs: { out, max, sum }, grads, params }) {
    if (grads.max && !grads.sum) {
      fail("unsupported", "attention", "max alone has no derivative", undefined, "Use it with sum: max + log(sum).");
    }
    // Whatever depends on max + log(sum) alone has the same derivative with max as a constant.
    return gradients(inputs, { out, max, sum, dout: grads.out ?? zerosLike(out), dlse: grads.sum?.mul(sum) }, params);
  },
  cases: (c) => attentionCases(c, "forward"),
});

/** What attention gave, and the cotangents of it. */
export interface AttentionGiven extends Statistics {
  readonly out: Tensor;
  readonly dout: Tensor;
  readonly dlse?: Tensor | undefined;
}

/** Gradients of every operand that has one. */
function gradients({ sink, ...shared }: AttentionOperands<Tensor>, given: AttentionGiven, params: AttentionParams) {
  const operands = { ...shared, ...given };
  const { dq, dk, dv } = attentionBackwardOp(operands, params);
  return {
    q: dq,
    k: params.packing === "qkv" ? undefined : dk,
    v: params.packing === "none" ? dv : undefined,
    bias: shared.bias && attentionBiasBackwardOp(operands, params).dbias,
    sink: sink && sinkGradient(sink, operands, params),
  };
}

/** How attention and the gradients of its operands are computed: on whole sequences, or on parts of them. */
export interface AttentionMethod {
  forward(operands: AttentionOperands<Tensor>, params: AttentionParams): { readonly out: Tensor } & Statistics;
  backward(
    operands: AttentionOperands<Tensor>,
    given: AttentionGiven,
    params: AttentionParams,
  ): Partial<Record<Differentiable, Tensor | undefined>>;
}

const WHOLE: AttentionMethod = { forward: (x, params) => attentionOp(x, params), backward: gradients };

/**
 * `out` of attention, marked with a name together with its statistics: all that the backward pass needs besides the
 * operands, so that a checkpoint policy that keeps the name does not run attention again.
 */
export function namedAttention(
  operands: AttentionOperands<Tensor>,
  params: AttentionParams,
  name: string,
  method = WHOLE,
): Tensor {
  const forward = (active: Active, rest: Rest) => {
    const { out, max, sum } = method.forward({ ...active, ...rest }, params);
    const marked = (t: Tensor): Tensor => checkpointName(t, name);
    const named = { out: marked(out), max: marked(max), sum: marked(sum) };
    return [named.out, { active, rest, ...named }] as const;
  };
  const { q, k, v, bias, sink, ...rest } = operands;
  const active = Object.fromEntries(Object.entries({ q, k, v, bias, sink }).filter(([, t]) => t)) as unknown as Active;
  const named = customVjp(
    (a: Active, r: Rest) => forward(a, r)[0],
    forward,
    ({ active, rest, ...saved }, dout) => {
      const all = method.backward({ ...active, ...rest }, { ...saved, dout }, params);
      const given = Object.entries(all).filter(([name]) => name in active);
      return [Object.fromEntries(given) as unknown as Active, undefined];
    },
  );
  return named(active, rest);
}

type Differentiable = "q" | "k" | "v" | "bias" | "sink";
type Active = Pick<AttentionOperands<Tensor>, Differentiable>;
type Rest = Omit<AttentionOperands<Tensor>, Differentiable>;

/** The sink is a logit whose weight meets no value: its gradient is -Σ weight * rowsum(dout * out). */
function sinkGradient(sink: Tensor, given: AttentionGiven, { layout }: AttentionParams): Tensor {
  const weight = weightOf(sink.reshape([1, sink.shape[0]!, 1]), given);
  return weight.mul(meanGradient(given, layout)).sum([0, 2]).neg();
}

export interface AttentionOptions extends Partial<AttentionParams> {}

/**
 * Scaled dot-product attention; see {@link attentionOp} for shapes. `scale` is 1 / sqrt(d) unless given.
 */
export function attention(operands: AttentionOperands<Tensor>, options: AttentionOptions = {}): Tensor {
  const scale = options.scale ?? 1 / Math.sqrt(operands.q.shape.at(-1)!);
  return attentionOp(operands, { ...options, scale }).out;
}
