import { type Aval, defineOp, fail, type Tensor, zerosLike } from "@te/tensor";
import { attentionCases } from "./attention-cases.js";
import {
  ATTENTION_DEFAULTS,
  type AttentionOperands,
  type AttentionParams,
  outShape,
  readAttention,
  readBackward,
  SHARED_OPERANDS,
} from "./attention-problem.js";
import {
  attentionBackwardReference,
  attentionBiasBackwardReference,
  attentionReference,
  exponential,
  meanGradient,
} from "./attention-reference.js";

const NOTHING = (dtype: Aval["dtype"]): Aval => ({ shape: [0], dtype });

/** Operands of both backward ops; `lse` and `out` are what attention gave, dlse is the cotangent of lse. */
const BACKWARD = {
  inputs: ["q", "out", "lse", "dout"],
  optional: [...SHARED_OPERANDS, "key", "dlse"],
} as const;

/**
 * Gradients of attention. → dq, dk and dv like q, k and v. With packing "qkv" dq is the packed gradient and dk and dv are
 * empty ([0]); with "kv" dk is packed and dv empty. Rows that see nothing give zeros.
 */
export const attentionBackwardOp = defineOp("attention_backward", {
  ...BACKWARD,
  outputs: ["dq", "dk", "dv"],
  params: ATTENTION_DEFAULTS,
  shape(x, params) {
    readBackward(x, params);
    return { dq: x.q, dk: x.k ?? NOTHING(x.q.dtype), dv: x.v ?? NOTHING(x.q.dtype) };
  },
  reference: attentionBackwardReference,
  cases: (c) => attentionCases(c, "backward"),
});

/** Gradient of the bias of attention. → dbias like bias. A separate op, so that it costs nothing when it is not wanted. */
export const attentionBiasBackwardOp = defineOp("attention_bias_backward", {
  ...BACKWARD,
  outputs: ["dbias"],
  params: ATTENTION_DEFAULTS,
  shape(x, params) {
    readBackward(x, params);
    return { dbias: x.bias ?? fail("option", "attentionBiasBackward", "a bias is needed", "none") };
  },
  reference: attentionBiasBackwardReference,
  cases: (c) => attentionCases(c, "bias"),
});

/**
 * out = dropout(softmax(scale * q·kᵀ + bias)) · v over the keys that each query sees; lse = log Σ e^logit (sink included).
 *
 * q [B, Sq, h, d], k [B, Skv, g, d], v [B, Skv, g, dv] of one float dtype (layout "sbhd": the first two axes swapped;
 * packed: see AttentionParams). Query head n reads key head floor(n / (h/g)). bias [1|B, 1|h, Sq, Skv]. A key is hidden by
 * mask (bool or uint8 [1|B, 1|h, 1|Sq, Skv], 1 = hidden), by segments (int32 [B, Sq] and [B, Skv]: only equal ids other
 * than 0 see each other), by `causal` and by the window, which count in positions (int32 [B, Sq], [B, Skv]) where given and
 * in indices otherwise. sink float32 [h]. key uint32 [2]: the weight (b, n, i, j) is kept when uniform(key, [B, h, Sq, Skv])
 * there is below 1 - dropout, and divided by that. → out like q with the depth of v, lse float32 [B, h, Sq]. Everything is
 * computed in float32. A row that sees nothing gives zeros and lse -inf (or the sink).
 */
export const attentionOp = defineOp("attention", {
  inputs: ["q"],
  optional: [...SHARED_OPERANDS, "sink", "key"],
  outputs: ["out", "lse"],
  params: ATTENTION_DEFAULTS,
  shape(x, params) {
    const sizes = readAttention(x, params);
    const { batch, heads, queries } = sizes;
    return {
      out: { shape: outShape(sizes, params), dtype: x.q.dtype },
      lse: { shape: [batch, heads, queries], dtype: "float32" },
    };
  },
  reference: attentionReference,
  vjp({ inputs, outputs: { out, lse }, grads, params }) {
    const { sink, ...shared } = inputs;
    const dout = (grads.out as Tensor | undefined) ?? zerosLike(out);
    const dlse = grads.lse as Tensor | undefined;
    const operands = { ...shared, out, lse, dout, dlse };
    const { dq, dk, dv } = attentionBackwardOp(operands, params);
    return {
      q: dq,
      k: params.packing === "qkv" ? undefined : dk,
      v: params.packing === "none" ? dv : undefined,
      bias: inputs.bias && attentionBiasBackwardOp(operands, params).dbias,
      sink: sink && sinkGradient(sink, operands, params),
    };
  },
  cases: (c) => attentionCases(c, "forward"),
});

/** The sink is a logit whose weight meets no value: its gradient is -Σ weight * rowsum(dout * out). */
function sinkGradient(
  sink: Tensor,
  { out, lse, dout, dlse }: { out: Tensor; lse: Tensor; dout: Tensor; dlse?: Tensor | undefined },
  { layout }: AttentionParams,
): Tensor {
  const weight = exponential(sink.reshape([1, sink.shape[0]!, 1]), lse);
  return weight.mul(meanGradient({ out, dout, dlse }, layout)).sum([0, 2]).neg();
}

export interface AttentionOptions extends Partial<AttentionParams> {}

/**
 * Scaled dot-product attention; see {@link attentionOp} for shapes. `scale` is 1 / sqrt(d) unless given.
 */
export function attention(operands: AttentionOperands<Tensor>, options: AttentionOptions = {}): Tensor {
  const scale = options.scale ?? 1 / Math.sqrt(operands.q.shape.at(-1)!);
  return attentionOp(operands, { ...options, scale }).out;
}
