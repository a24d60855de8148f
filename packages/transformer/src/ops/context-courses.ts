/** What each device computes of context-parallel attention, and what it exchanges with the others. */
import { type Tensor, where } from "@te/tensor";
import type { Sent, Shard, Together } from "@te/tensor/op";
import { attentionBackwardOp, attentionOp } from "./attention.js";
import type { AttentionOperands, BackwardOperands, Statistics } from "./attention-problem.js";
import { dualChunks, inverseOf, permuteChunks, positionsOf } from "./context-order.js";
import { attentionParams, type ContextParams, isPlaced, sequenceAxis } from "./context-problem.js";

type Results = { readonly out: Tensor } & Statistics;
type Gradients = Readonly<Record<"dq" | "dk" | "dv", Tensor>>;
type Operands = AttentionOperands<Tensor>;
type Backward = BackwardOperands<Tensor>;

/** What belongs to keys, with the axis of the sequence. */
const keysOf = (
  x: Operands,
  params: ContextParams,
): [name: "k" | "v" | "segmentsKv" | "positionsKv", axis: number][] => {
  const axis = sequenceAxis(params);
  const all = [
    ["k", axis],
    ["v", axis],
    ["segmentsKv", 1],
    ["positionsKv", 1],
  ] as const;
  return all.filter(([name]) => x[name]).map(([name, at]) => [name, at]);
};

/** Gradients of keys that there are: packed, that of v is in that of k. */
const gradientsOf = (x: Operands): ("dk" | "dv")[] => (x.v ? ["dk", "dv"] : ["dk"]);

/** A device's own positions, those of another's keys, or of all keys in order, where they count and are not given. */
function places(x: Operands, params: ContextParams, shard: Shard, keysFrom?: number): Partial<Operands> {
  if (x.positionsQ || !isPlaced(params)) return {};
  const { order, parts } = params;
  const batch = shard.range("b").size;
  const of = (device: number, factor: "s" | "t"): Tensor => {
    const length = shard.range(factor).size;
    return positionsOf(order, device, parts, length).broadcastTo([batch, length]);
  };
  const own = shard.range("c").start;
  return { positionsQ: of(own, "s"), ...(keysFrom !== undefined && { positionsKv: of(keysFrom, "t") }) };
}

/** x with the keys of all devices, in the order of the sequence. */
function* gatherKeys<T extends Operands>(x: T, params: ContextParams): Together<T> {
  const all: Partial<Record<keyof Operands, Tensor>> = {};
  for (const [name, dim] of keysOf(x, params)) {
    const gathered = yield { factor: "c", kind: "all_gather", x: x[name]!, dim };
    all[name] = params.order === "none" ? gathered : permuteChunks(gathered, dim, inverseOf(dualChunks(params.parts)));
  }
  return { ...x, ...all };
}

export function* gatherForward(x: Operands, params: ContextParams, shard: Shard): Together<Results> {
  const whole = yield* gatherKeys(x, params);
  return attentionOp({ ...whole, ...places(x, params, shard) }, attentionParams(params));
}

/** Gradients of keys are sums over the queries of all devices. */
export function* gatherBackward(x: Backward, params: ContextParams, shard: Shard): Together<Gradients> {
  const whole = yield* gatherKeys(x, params);
  const found: Record<"dq" | "dk" | "dv", Tensor> = {
    ...attentionBackwardOp({ ...whole, ...places(x, params, shard) }, attentionParams(params)),
  };
  const dim = sequenceAxis(params);
  for (const name of gradientsOf(x)) {
    const all = params.order === "none" ? found[name] : permuteChunks(found[name], dim, dualChunks(params.parts));
    found[name] = yield { factor: "c", kind: "reduce_scatter", x: all, dim, reduction: "sum" };
  }
  return found;
}

/** To the next device, from the one before. */
function toNext(x: Tensor, parts: number): Sent {
  const sources = Array.from({ length: parts }, (_, i) => i);
  return { factor: "c", kind: "ppermute", x, sources, targets: sources.map((i) => (i + 1) % parts) };
}

/** The keys of the device before, where another step follows. */
function* nextKeys(x: Operands, params: ContextParams, step: number): Together<Partial<Operands>> {
  const next: Partial<Record<keyof Operands, Tensor>> = {};
  if (step + 1 < params.parts)
    for (const [name] of keysOf(x, params)) next[name] = yield toNext(x[name]!, params.parts);
  return next;
}

/** Whose keys a device has at a step. */
const holderAt = (shard: Shard, step: number, parts: number): number => (shard.range("c").start - step + parts) % parts;

export function* ringForward(given: Operands, params: ContextParams, shard: Shard): Together<Results> {
  let x = given;
  let merged: Results | undefined;
  for (let step = 0; step < params.parts; step++) {
    const next = yield* nextKeys(x, params, step);
    const placed = { ...x, ...places(given, params, shard, holderAt(shard, step, params.parts)) };
    const part = attentionOp(placed, attentionParams(params));
    merged = merged ? merge(merged, part, params) : part;
    x = { ...x, ...next };
  }
  const { out, max, sum } = merged!;
  return { out: out.astype(given.q.dtype), max, sum };
}

/** Results over two parts of the keys as those over both, in float32; see Statistics. */
function merge(a: Results, b: Results, { layout }: ContextParams): Results {
  const max = a.max.maximum(b.max);
  const base = where(max.eq(Number.NEGATIVE_INFINITY), 0, max);
  const [own, other] = [a, b].map((part) => part.max.sub(base).exp().mul(part.sum)) as [Tensor, Tensor];
  const sum = own.add(other);
  const divisor = where(sum.eq(0), 1, sum);
  // [B, h, S] as [B, S, h, 1], or [S, B, h, 1].
  const shared = (weight: Tensor): Tensor =>
    weight
      .div(divisor)
      .transpose(layout === "bshd" ? [0, 2, 1] : [2, 0, 1])
      .expandDims(-1);
  const out = a.out
    .astype("float32")
    .mul(shared(own))
    .add(b.out.astype("float32").mul(shared(other)));
  return { out, max, sum };
}

/** Gradients of keys go around with them, one step further, which takes them home. They are added in float32. */
export function* ringBackward(given: Backward, params: ContextParams, shard: Shard): Together<Gradients> {
  const { parts } = params;
  let x = given;
  let total: Record<string, Tensor> = {};
  for (let step = 0; step < parts; step++) {
    const next = yield* nextKeys(x, params, step);
    const placed = { ...x, ...places(given, params, shard, holderAt(shard, step, parts)) };
    const part = attentionBackwardOp(placed, attentionParams(params));
    const added = (name: "dq" | "dk" | "dv"): Tensor => {
      const wide = part[name].astype("float32");
      return total[name] ? total[name].add(wide) : wide;
    };
    const sums: Record<string, Tensor> = { dq: added("dq") };
    for (const name of gradientsOf(x)) sums[name] = parts > 1 ? yield toNext(added(name), parts) : added(name);
    total = sums;
    x = { ...x, ...next };
  }
  const narrow = (name: string, like: Tensor): Tensor => total[name]!.astype(like.dtype);
  const { k, v } = given as { k: Tensor; v?: Tensor };
  return { dq: narrow("dq", given.q), dk: narrow("dk", k), dv: v ? narrow("dv", v) : k.reshape([-1]).slice([0], [0]) };
}
