/** Attention and its gradients as compositions of simpler ops: the meaning of every option, in float32. */
import { arange, dot, stack, type Tensor, where, zeros } from "@te/tensor";
import { drawKept } from "@te/tensor/op";
import {
  type AttentionOperands,
  type AttentionParams,
  type AttentionSizes,
  type BackwardOperands,
  placeOfWeights,
  readAttention,
  readBackward,
  type Statistics,
  weightShape,
} from "./attention-problem.js";

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
  /** bool [B, h, Sq, Skv]: visible, and the logit is not -inf. */
  readonly seen: Tensor;
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

/** keep / (1 - rate), [B, h, Sq, Skv]. */
function keptWeights(key: Tensor, params: AttentionParams, s: AttentionSizes): Tensor {
  const rate = params.dropout;
  const keep = drawKept(key, rate, weightShape(s), placeOfWeights(params));
  return keep
    .astype("float32")
    .mul(1 / (1 - rate))
    .reshape([s.batch, s.heads, s.queries, s.keys]);
}

/** q, k and v as [B, heads, S, depth]. */
function splitHeads(x: Operands, { packing, layout }: AttentionParams): [Tensor, Tensor, Tensor] {
  const heads = (t: Tensor): Tensor => t.transpose(TO_HEADS[layout]);
  const slot = (t: Tensor, i: number): Tensor => t.at("...", i, ":", ":");
  if (packing === "qkv") return [heads(slot(x.q, 0)), heads(slot(x.q, 1)), heads(slot(x.q, 2))];
  if (packing === "kv") return [heads(x.q), heads(slot(x.k!, 0)), heads(slot(x.k!, 1))];
  return [heads(x.q), heads(x.k!), heads(x.v!)];
}

const isLowest = (x: Tensor): Tensor => x.eq(Number.NEGATIVE_INFINITY);

function setUp(x: Operands, params: AttentionParams, s: AttentionSizes): Problem {
  const scores = [s.batch, s.heads, s.queries, s.keys];
  const [heads, k, v] = splitHeads(x, params);
  const q = heads.reshape([s.batch, s.groups, s.heads / s.groups, s.queries, s.depth]);
  const wide = (t: Tensor): Tensor => (params.float32Logits ? t.astype("float32") : t);
  const qk = batched(wide(q), wide(k), [4], [3]).reshape(scores);
  const bias = x.bias?.astype("float32").mul(params.biasType === "pre_scale" ? params.scale : 1);
  const scaled = qk.mul(params.scale);
  const logits = bias ? where(isLowest(bias), Number.NEGATIVE_INFINITY, scaled.add(bias)) : scaled;
  const visible = visibleKeys(x, params, s);
  const above = isLowest(logits).logicalNot();
  return {
    s,
    params,
    q,
    k,
    v,
    logits,
    seen: visible ? above.logicalAnd(visible) : above,
    kept: params.dropout > 0 ? keptWeights(x.key!, params, s) : undefined,
  };
}

/** A product per (batch, group), in float32. */
const batched = (a: Tensor, b: Tensor, lhsContract: number[], rhsContract: number[]): Tensor =>
  dot(a, b, { lhsContract, rhsContract, lhsBatch: [0, 1], rhsBatch: [0, 1], dtype: "float32" });

/** x with zeros for what is not finite. A row of keys or queries that is not finite makes the logits so: they tell. */
const finiteOnly = (x: Tensor): Tensor => where(x.isFinite(), x, 0);

/**
 * batched(weights, x) where a row of x counts if its weight is not 0 by hiding or dropout. Such a weight is above 0, also
 * where float32 cannot hold it: an infinity of x gives an infinity, and NaN, or infinities of both signs, NaN.
 */
function weighted(weights: Tensor, p: Problem, x: Tensor, lhs: number[], rhs: number[]): Tensor {
  const counts = grouped((p.kept ? p.seen.logicalAnd(p.kept.ne(0)) : p.seen).astype("float32"), p.s);
  const reached = (values: Tensor): Tensor => batched(counts, values.astype("float32"), lhs, rhs).gt(0);
  const finite = x.isFinite();
  const [above, below] = [
    reached(x.le(0).logicalOr(finite).logicalNot()),
    reached(x.ge(0).logicalOr(finite).logicalNot()),
  ];
  const infinite = where(above, where(below, Number.NaN, Number.POSITIVE_INFINITY), Number.NEGATIVE_INFINITY);
  return where(above.logicalOr(below), infinite, batched(weights, finiteOnly(x), lhs, rhs));
}

/** [B, h, ...] as [B, g, h/g, ...]. */
const grouped = (t: Tensor, { batch, groups, heads }: AttentionSizes): Tensor =>
  t.reshape([batch, groups, heads / groups, ...t.shape.slice(2)]);

/** out and the statistics of every row. */
export function attentionReference(x: Operands, params: AttentionParams): { out: Tensor } & Statistics {
  const p = setUp(x, params, readAttention(x, params));
  let max = where(p.seen, p.logits, Number.NEGATIVE_INFINITY).max(-1, { keepDims: true });
  const sink = x.sink?.reshape([1, p.s.heads, 1, 1]) ?? (params.softmaxType === "off_by_one" ? zeros([1]) : undefined);
  if (sink) max = max.maximum(sink);
  const weights = where(p.seen, p.logits.sub(baseOf(max)).exp(), 0);
  let sum = weights.sum(-1, { keepDims: true });
  if (sink) sum = sum.add(sink.sub(baseOf(max)).exp());
  const probabilities = weights.div(divisorOf(sum));
  const kept = grouped(p.kept ? probabilities.mul(p.kept) : probabilities, p.s);
  const { batch, heads, queries, valueDepth } = p.s;
  const out = weighted(kept, p, p.v.astype("float32"), [4], [2]).reshape([batch, heads, queries, valueDepth]);
  return {
    out: out.transpose(FROM_HEADS[params.layout]).astype(x.q.dtype),
    max: max.squeeze(-1),
    sum: sum.squeeze(-1),
  };
}

/** What a row's logits are counted from: its largest, or 0 where it sees nothing and that is -inf. */
const baseOf = (max: Tensor): Tensor => where(isLowest(max), 0, max);

const divisorOf = (sum: Tensor): Tensor => where(sum.eq(0), 1, sum);

/** The weight e^(x - max) / sum of a logit, by the statistics of its row. */
export const weightOf = (x: Tensor, { max, sum }: Statistics): Tensor => x.sub(baseOf(max)).exp().div(divisorOf(sum));

/** rowsum(dout * out) - dlse, float32 [B, h, Sq]: the mean of the weights' gradients under the weights. */
export function meanGradient(
  { dout, out, dlse }: Pick<Backward, "dout" | "out" | "dlse">,
  layout: AttentionParams["layout"],
): Tensor {
  const rows = dout.astype("float32").mul(out.astype("float32")).sum(-1);
  const mean = rows.transpose(layout === "bshd" ? [0, 2, 1] : [1, 2, 0]);
  return dlse ? mean.sub(dlse) : mean;
}

/** The weights after dropout and the gradient of the logits, float32 [B, h, Sq, Skv]. */
function logitGradient(p: Problem, x: Backward): { weights: Tensor; dlogits: Tensor; dout: Tensor } {
  const rows = { max: x.max.expandDims(-1), sum: x.sum.expandDims(-1) };
  const probabilities = where(p.seen, weightOf(p.logits, rows), 0);
  const dout = grouped(x.dout.transpose(TO_HEADS[p.params.layout]).astype("float32"), p.s);
  const dweights = batched(dout, p.v.astype("float32"), [4], [3]).reshape(p.logits.shape);
  const mean = meanGradient(x, p.params.layout).expandDims(-1);
  const dkept = p.kept ? where(p.kept.eq(0), 0, dweights.mul(p.kept)) : dweights;
  const dlogits = probabilities.mul(dkept.sub(mean));
  return {
    weights: p.kept ? probabilities.mul(p.kept) : probabilities,
    dlogits: where(p.seen, dlogits, 0),
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
  const [q, k] = [p.q, p.k].map((t) => finiteOnly(t.astype("float32"))) as [Tensor, Tensor];
  const dq = wire(batched(ds, k, [4], [2]).reshape([p.s.batch, p.s.heads, p.s.queries, p.s.depth]));
  const dk = wire(batched(ds, q, [2, 3], [2, 3]));
  const dv = wire(weighted(grouped(weights, p.s), p, dout, [2, 3], [2, 3]));
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
