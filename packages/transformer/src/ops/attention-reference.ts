/** Attention and its gradients as compositions of simpler ops: the meaning of every option, in float32. */
import { arange, dot, random, shiftRight, stack, type Tensor, where } from "@te/tensor";
import {
  type AttentionOperands,
  type AttentionParams,
  type AttentionSizes,
  type BackwardOperands,
  readAttention,
  readBackward,
} from "./attention-problem.js";

/** Below every logit; keeps -inf - -inf from appearing in rows that see nothing. */
const LOWEST = -3e38;

type Operands = AttentionOperands<Tensor>;
type Backward = BackwardOperands<Tensor>;

/** Batch, heads, length, depth from the wire layout, and back: the permutation is its own inverse for bshd only. */
const TO_HEADS = { bshd: [0, 2, 1, 3], sbhd: [1, 2, 0, 3] };
const FROM_HEADS = { bshd: [0, 2, 1, 3], sbhd: [2, 0, 1, 3] };

interface Problem {
  readonly s: AttentionSizes;
  readonly params: AttentionParams;
  /** [B, g, h/g, Sq, d], [B, g, Skv, d], [B, g, Skv, dv]. */
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  /** scale * qk + bias, float32 [B, h, Sq, Skv]. */
  readonly logits: Tensor;
  /** bool, broadcasts to logits; undefined when every key is visible. */
  readonly visible: Tensor | undefined;
  /** keep / (1 - rate), float32 [B, h, Sq, Skv]. */
  readonly kept: Tensor | undefined;
}

/** A mask of visible keys, [B or 1, h or 1, Sq or 1, Skv]. */
function visibleKeys(x: Operands, params: AttentionParams, s: AttentionSizes): Tensor | undefined {
  const rules: Tensor[] = [];
  const shift = params.bottomRight ? s.keys - s.queries : 0;
  const query = x.positionsQ
    ? x.positionsQ.expandDims([1, 3])
    : arange(s.queries).add(shift).reshape([1, 1, s.queries, 1]);
  const key = x.positionsKv ? x.positionsKv.expandDims([1, 2]) : arange(s.keys).reshape([1, 1, 1, s.keys]);
  if (params.causal) rules.push(key.le(query));
  if (params.windowLeft >= 0) rules.push(key.ge(query.sub(params.windowLeft)));
  if (params.windowRight >= 0) rules.push(key.le(query.add(params.windowRight)));
  if (x.segmentsQ) {
    const own = x.segmentsQ.expandDims([1, 3]);
    rules.push(own.eq(x.segmentsKv!.expandDims([1, 2])).logicalAnd(own.ne(0)));
  }
  if (x.mask) rules.push(x.mask.logicalNot());
  return rules.length === 0 ? undefined : rules.reduce((a, b) => a.logicalAnd(b));
}

/** keep / (1 - rate): a weight is kept when its uniform number, a multiple of 2^-23, is below float32(1 - rate). */
function keptWeights(key: Tensor, rate: number, shape: readonly number[]): Tensor {
  const limit = Math.ceil(Math.fround(1 - rate) * 2 ** 23);
  const keep = shiftRight(random.bits(key, shape), 9).lt(limit);
  return keep.astype("float32").mul(1 / (1 - rate));
}

/** q, k and v as [B, heads, S, depth]. */
function splitHeads(x: Operands, { packing, layout }: AttentionParams): [Tensor, Tensor, Tensor] {
  const heads = (t: Tensor): Tensor => t.transpose(TO_HEADS[layout]);
  const slot = (t: Tensor, i: number): Tensor => t.at("...", i, ":", ":");
  if (packing === "qkv") return [heads(slot(x.q, 0)), heads(slot(x.q, 1)), heads(slot(x.q, 2))];
  if (packing === "kv") return [heads(x.q), heads(slot(x.k!, 0)), heads(slot(x.k!, 1))];
  return [heads(x.q), heads(x.k!), heads(x.v!)];
}

function setUp(x: Operands, params: AttentionParams, s: AttentionSizes): Problem {
  const scores = [s.batch, s.heads, s.queries, s.keys];
  const [heads, k, v] = splitHeads(x, params);
  const q = heads.reshape([s.batch, s.groups, s.heads / s.groups, s.queries, s.depth]);
  const wide = (t: Tensor): Tensor => (params.float32Logits ? t.astype("float32") : t);
  const qk = batched(wide(q), wide(k), [4], [3]).reshape(scores);
  const bias = x.bias?.astype("float32").mul(params.biasType === "pre_scale" ? params.scale : 1);
  const scaled = qk.mul(params.scale);
  return {
    s,
    params,
    q,
    k,
    v,
    logits: bias ? scaled.add(bias) : scaled,
    visible: visibleKeys(x, params, s),
    kept: params.dropout > 0 ? keptWeights(x.key!, params.dropout, scores) : undefined,
  };
}

/** A product per (batch, group), in float32. */
const batched = (a: Tensor, b: Tensor, lhsContract: number[], rhsContract: number[]): Tensor =>
  dot(a, b, { lhsContract, rhsContract, lhsBatch: [0, 1], rhsBatch: [0, 1], dtype: "float32" });

/**
 * x with zeros for what is not finite, when some of it is hidden: hidden keys have weight 0, and 0 * NaN is not 0. Where a
 * visible query, key or value is not finite, its row's log-sum-exp or a weight that is not 0 says so.
 */
const finiteOnly = (x: Tensor, visible: Tensor | undefined): Tensor => (visible ? where(x.isFinite(), x, 0) : x);

/** batched(weights, x) to which a row of x that is not finite counts only where its weight is not 0. */
function weighted(weights: Tensor, x: Tensor, visible: Tensor | undefined, lhs: number[], rhs: number[]): Tensor {
  const sum = batched(weights, finiteOnly(x, visible), lhs, rhs);
  if (!visible) return sum;
  const count = (condition: Tensor): Tensor => condition.astype("float32");
  const spoiled = batched(count(weights.ne(0)), count(x.isFinite().logicalNot()), lhs, rhs);
  return where(spoiled.gt(0), Number.NaN, sum);
}

/** [B, h, ...] as [B, g, h/g, ...]. */
const grouped = (t: Tensor, { batch, groups, heads }: AttentionSizes): Tensor =>
  t.reshape([batch, groups, heads / groups, ...t.shape.slice(2)]);

/** x where keys are visible, `hidden` elsewhere. */
const onlyVisible = (x: Tensor, visible: Tensor | undefined, hidden: number): Tensor =>
  visible ? where(visible.broadcastTo(x.shape), x, hidden) : x;

/** out and the log-sum-exp of the logits (and the sink) of every row, -inf where a row sees nothing. */
export function attentionReference(x: Operands, params: AttentionParams): { out: Tensor; lse: Tensor } {
  const p = setUp(x, params, readAttention(x, params));
  const { softmaxType } = params;
  let top = onlyVisible(p.logits, p.visible, LOWEST).max(-1, { keepDims: true }).maximum(LOWEST);
  const sink = x.sink?.reshape([1, p.s.heads, 1, 1]);
  if (sink) top = top.maximum(sink);
  if (softmaxType === "off_by_one") top = top.maximum(0);
  const weights = onlyVisible(p.logits.sub(top).exp(), p.visible, 0);
  let total = weights.sum(-1, { keepDims: true });
  if (sink) total = total.add(sink.sub(top).exp());
  if (softmaxType === "off_by_one") total = total.add(top.neg().exp());
  const probabilities = weights.div(where(total.gt(0), total, 1));
  const kept = grouped(p.kept ? probabilities.mul(p.kept) : probabilities, p.s);
  const heads = weighted(kept, p.v.astype("float32"), p.visible, [4], [2]).reshape([
    p.s.batch,
    p.s.heads,
    p.s.queries,
    p.s.valueDepth,
  ]);
  return {
    out: heads.transpose(FROM_HEADS[params.layout]).astype(x.q.dtype),
    lse: top.add(total.log()).squeeze(-1),
  };
}

/** rowsum(dout * out) - dlse, float32 [B, h, Sq]: the mean of the weights' gradients under the weights. */
export function meanGradient(
  { dout, out, dlse }: Pick<Backward, "dout" | "out" | "dlse">,
  layout: AttentionParams["layout"],
): Tensor {
  const rows = dout.astype("float32").mul(out.astype("float32")).sum(-1);
  const mean = rows.transpose(layout === "bshd" ? [0, 2, 1] : [1, 2, 0]);
  return dlse ? mean.sub(dlse) : mean;
}

/** e^(x - lse), 0 in rows that see nothing. */
export const exponential = (x: Tensor, lse: Tensor): Tensor => x.sub(where(lse.le(LOWEST), -LOWEST, lse)).exp();

/** The weights after dropout and the gradient of the logits, float32 [B, h, Sq, Skv]. */
function logitGradient(p: Problem, x: Backward): { weights: Tensor; dlogits: Tensor; dout: Tensor } {
  const probabilities = onlyVisible(exponential(p.logits, x.lse.expandDims(-1)), p.visible, 0);
  const dout = grouped(x.dout.transpose(TO_HEADS[p.params.layout]).astype("float32"), p.s);
  const dweights = batched(dout, p.v.astype("float32"), [4], [3]).reshape(p.logits.shape);
  const mean = meanGradient(x, p.params.layout).expandDims(-1);
  const dlogits = probabilities.mul((p.kept ? dweights.mul(p.kept) : dweights).sub(mean));
  return {
    weights: p.kept ? probabilities.mul(p.kept) : probabilities,
    dlogits: onlyVisible(dlogits, p.visible, 0),
    dout,
  };
}

/** Gradients of q, k and v, in the wire layout and packing. */
export function attentionBackwardReference(
  x: Backward,
  params: AttentionParams,
): { dq: Tensor; dk: Tensor; dv: Tensor } {
  const p = setUp(x, params, readBackward(x, params));
  const { weights, dlogits, dout } = logitGradient(p, x);
  const ds = grouped(dlogits.mul(params.scale), p.s);
  const wire = (t: Tensor): Tensor => t.transpose(FROM_HEADS[params.layout]).astype(x.q.dtype);
  const [q, k] = [p.q, p.k].map((t) => finiteOnly(t.astype("float32"), p.visible)) as [Tensor, Tensor];
  const dq = wire(batched(ds, k, [4], [2]).reshape([p.s.batch, p.s.heads, p.s.queries, p.s.depth]));
  const dk = wire(batched(ds, q, [2, 3], [2, 3]));
  const dv = wire(weighted(grouped(weights, p.s), dout, p.visible, [2, 3], [2, 3]));
  const nothing = arange(0, undefined, 1, { dtype: x.q.dtype });
  if (params.packing === "qkv") return { dq: stack([dq, dk, dv], 2), dk: nothing, dv: nothing };
  if (params.packing === "kv") return { dq, dk: stack([dk, dv], 2), dv: nothing };
  return { dq, dk, dv };
}

/** The gradient of the bias, summed over what it is broadcast over. */
export function attentionBiasBackwardReference(x: Backward, params: AttentionParams): { dbias: Tensor } {
  const bias = x.bias!;
  const { dlogits } = logitGradient(setUp(x, params, readBackward(x, params)), x);
  const shared = [0, 1].filter((axis) => bias.shape[axis] === 1);
  const summed = shared.length > 0 ? dlogits.sum(shared, { keepDims: true }) : dlogits;
  return { dbias: summed.mul(params.biasType === "pre_scale" ? params.scale : 1).astype(bias.dtype) };
}
