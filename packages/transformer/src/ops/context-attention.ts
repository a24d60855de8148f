/** The op `context_attention` and its backward op: attention over sequences that devices hold in parts. */
import { type Aval, type Tensor, zerosLike } from "@te/tensor";
import { defineOp, fail } from "@te/tensor/op";
import { type AttentionMethod, attentionBackwardOp, attentionOp } from "./attention.js";
import { outShape, readAttention, readBackward } from "./attention-problem.js";
import { contextRule } from "./attention-rule.js";
import { contextCases } from "./context-cases.js";
import { gatherBackward, gatherForward, ringBackward, ringForward } from "./context-courses.js";
import {
  attentionParams,
  CONTEXT_DEFAULTS,
  CONTEXT_KINDS,
  CONTEXT_OPERANDS,
  type ContextParams,
  checkContext,
  sharedParams,
  wholeOperands,
} from "./context-problem.js";

const NOTHING = (dtype: Aval["dtype"]): Aval => ({ shape: [0], dtype });

/**
 * Gradients of context_attention: operands and results as those of attention_backward. In the ring, gradients of keys and
 * values are added in float32, which is how they travel.
 */
export const contextAttentionBackwardOp = defineOp("context_attention_backward", {
  inputs: ["q", "out", "max", "sum", "dout", "k"],
  optional: [...CONTEXT_OPERANDS, "dlse"],
  outputs: ["dq", "dk", "dv"],
  judgedAs: { values: { dq: "attention", dk: "attentionKeyValue", dv: "attentionKeyValue" } },
  params: CONTEXT_DEFAULTS,
  kinds: CONTEXT_KINDS,
  shape(x, params) {
    checkContext(x, params, readBackward(x, attentionParams(params)));
    return { dq: x.q, dk: x.k, dv: x.v ?? NOTHING(x.q.dtype) };
  },
  sharding: (x, params) =>
    contextRule(
      x,
      params,
      readBackward(x, attentionParams(params)),
      ["q", "out", "max", "sum", "dout", "k", ...CONTEXT_OPERANDS, "dlse"],
      ["q", "k", "v"],
    ),
  together: (x, params, shard) => (params.strategy === "ring" ? ringBackward : gatherBackward)(x, params, shard),
  reference(x, params) {
    const own = attentionParams(params);
    return attentionBackwardOp(wholeOperands(x, params, readBackward(x, own)), own);
  },
  cases: (c) => contextCases(c, "backward"),
});

/**
 * Attention whose queries and keys are in `parts` parts, one on each of as many devices: the sequences of q, k and v are
 * split alike. Operands and results are those of `attention` that it has. Without positions, which with segments say where
 * packed tokens are, `order` tells the place of each token in its sequence: causal masks count in these. Where no axis of
 * that many devices splits the sequence it is computed as a whole.
 */
export const contextAttentionOp = defineOp("context_attention", {
  inputs: ["q", "k"],
  optional: CONTEXT_OPERANDS,
  outputs: ["out", "max", "sum"],
  saved: ["max", "sum"],
  judgedAs: {
    values: "attention",
    gradients: { q: "attention", k: "attentionKeyValue", v: "attentionKeyValue" },
  },
  params: CONTEXT_DEFAULTS,
  kinds: CONTEXT_KINDS,
  shape(x, params) {
    const own = attentionParams(params);
    const sizes = readAttention(x, own);
    checkContext(x, params, sizes);
    const rows: Aval = { shape: [sizes.batch, sizes.heads, sizes.queries], dtype: "float32" };
    return { out: { shape: outShape(sizes, own), dtype: x.q.dtype }, max: rows, sum: rows };
  },
  sharding: (x, params) =>
    contextRule(
      x,
      params,
      readAttention(x, attentionParams(params)),
      ["q", "k", ...CONTEXT_OPERANDS],
      ["out", "max", "sum"],
    ),
  together: (x, params, shard) => (params.strategy === "ring" ? ringForward : gatherForward)(x, params, shard),
  reference(x, params) {
    const own = attentionParams(params);
    return attentionOp(wholeOperands(x, params, readAttention(x, own)), own);
  },
  vjp({ inputs, outputs: { out, max, sum }, grads, params }) {
    if (grads.max && !grads.sum) {
      fail("unsupported", "attention", "max alone has no derivative", undefined, "Use it with sum: max + log(sum).");
    }
    const given = { out, max, sum, dout: grads.out ?? zerosLike(out), dlse: grads.sum?.mul(sum) };
    return gradients(contextAttentionBackwardOp({ ...inputs, ...given }, params), inputs.v);
  },
  cases: (c) => contextCases(c, "forward"),
});

const gradients = ({ dq, dk, dv }: Readonly<Record<"dq" | "dk" | "dv", Tensor>>, v: Tensor | undefined) => ({
  q: dq,
  k: dk,
  v: v && dv,
});

/** Attention over parts of sequences, for namedAttention: operands must be among those that it has. */
export function contextMethod(context: Pick<ContextParams, "strategy" | "order" | "parts">): AttentionMethod {
  return {
    forward: ({ q, k, ...rest }, params) =>
      contextAttentionOp({ q, k: k!, ...rest }, { ...sharedParams(params), ...context }),
    backward: ({ q, k, ...rest }, given, params) =>
      gradients(
        contextAttentionBackwardOp({ q, k: k!, ...rest, ...given }, { ...sharedParams(params), ...context }),
        rest.v,
      ),
  };
}
