import type { DType } from "@te/tensor";
import { type Limit, limitOf, type Row } from "./tolerance.js";

/** Which row of the table judges the outputs of an op; all others are judged as "op". */
const VALUE_ROWS: Readonly<Record<string, Row>> = {
  dot: "gemm",
  scaled_dot: "fp8Gemm",
  softmax: "softmax",
  layer_norm: "norm",
  rms_norm: "norm",
  gated_activation: "activation",
  attention: "attention",
};

/** Ops whose outputs are gradients, output by output. */
const GRADIENT_ROWS: Readonly<Record<string, Readonly<Record<string, Row>>>> = {
  layer_norm_backward: { dgamma: "normParameters", dbeta: "normParameters" },
  rms_norm_backward: { dgamma: "normParameters" },
  attention_backward: {
    dq: "attention",
    dk: "attentionKeyValue",
    dv: "attentionKeyValue",
    dbias: "attentionKeyValue",
    dsink: "attentionKeyValue",
  },
  attention_bias_backward: { dbias: "attentionKeyValue" },
};

/** The limit for an output of an op. */
export function limitOfOutput(op: string, output: string, dtype: DType): Limit {
  return limitOf(GRADIENT_ROWS[op]?.[output] ?? VALUE_ROWS[op] ?? "op", dtype);
}

/** Ops with a gradient kernel of their own, by input; the gradient of any other op is composed of several ops. */
const FUSED_GRADIENTS: Readonly<Record<string, Readonly<Record<string, Row>>>> = {
  layer_norm: { x: "norm", gamma: "normParameters", beta: "normParameters" },
  rms_norm: { x: "norm", gamma: "normParameters" },
  attention: {
    q: "attention",
    k: "attentionKeyValue",
    v: "attentionKeyValue",
    bias: "attentionKeyValue",
    sink: "attentionKeyValue",
  },
};

/** The limit for the gradient of an input of an op. */
export function limitOfGradient(op: string, input: string, dtype: DType): Limit {
  return limitOf(FUSED_GRADIENTS[op]?.[input] ?? "composed", dtype);
}
