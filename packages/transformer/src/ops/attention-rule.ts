/** How attention and its gradients are split over a mesh. */
import { type Aval, arange, type Tensor } from "@te/tensor";
import { type RuleText, rule, type Shard } from "@te/tensor/op";
import {
  type AttentionOperands,
  type AttentionParams,
  type AttentionSizes,
  placeOfWeights,
  SHARED_OPERANDS,
  sizesOf,
  weightShape,
} from "./attention-problem.js";

/**
 * Terms of all operands and results by name: batch b; g groups of r heads, which share one of k and v; queries s, keys t;
 * depth d, and e of the values. Packed with queries, keys cannot be split without them, nor these without the keys.
 */
function termsOf(
  x: AttentionOperands<Aval>,
  { layout, packing }: Pick<AttentionParams, "layout" | "packing">,
  sizes: AttentionSizes,
  [s, t] = packing === "qkv" ? [String(sizes.queries), String(sizes.keys)] : ["s", "t"],
) {
  const e = packing === "none" ? "e" : "d";
  const wire = (length: string, rest: string): string => `${layout === "bshd" ? `b ${length}` : `${length} b`} ${rest}`;
  // Axes of length 1 beside longer ones are repeated.
  const full = [sizes.batch, sizes.heads, sizes.queries, sizes.keys];
  const scores = (of: Aval | undefined): string =>
    ["b", "(g r)", s, t].map((name, i) => (!of || of.shape[i] === full[i] ? name : of.shape[i])).join(" ");
  const rows = `b (g r) ${s}`;
  const out = wire(s, `(g r) ${e}`);
  return {
    q: wire(s, packing === "qkv" ? "3 (g r) d" : "(g r) d"),
    k: packing === "qkv" ? "0" : wire(t, packing === "kv" ? "2 g d" : "g d"),
    v: packing === "none" ? wire(t, "g e") : "0",
    bias: scores(x.bias),
    mask: scores(x.mask),
    segmentsQ: `b ${s}`,
    segmentsKv: `b ${t}`,
    positionsQ: `b ${s}`,
    positionsKv: `b ${t}`,
    sink: "(g r)",
    key: "2",
    out,
    dout: out,
    max: rows,
    sum: rows,
    dlse: rows,
  };
}

type Name = keyof ReturnType<typeof termsOf>;

/**
 * The rule where queries and keys are cut into so many parts c, one on each device, which compute together. The operands
 * stand for those of the op, in wire order.
 */
export function contextRule(
  x: AttentionOperands<Aval>,
  params: Pick<AttentionParams, "layout" | "packing"> & { readonly parts: number },
  sizes: AttentionSizes,
  inputs: readonly Name[],
  outputs: readonly Name[],
): RuleText {
  const terms = termsOf(x, params, sizes, ["(c s)", "(c t)"]);
  const list = (names: readonly Name[]): string => names.map((name) => terms[name]).join(", ");
  return rule(`${list(inputs)} -> ${list(outputs)}`, {
    whole: params.packing === "none" ? ["s", "t", "d", "e"] : ["s", "t", "d"],
    together: ["c"],
    sizes: { g: sizes.groups, r: sizes.heads / sizes.groups, c: params.parts },
  });
}

/** The rule of an op with these inputs and outputs; gradients have the terms of what they are gradients of. */
function ruleOf(
  x: AttentionOperands<Aval>,
  params: AttentionParams,
  sizes: AttentionSizes,
  inputs: readonly Name[],
  outputs: readonly Name[],
  whole: readonly string[],
): RuleText {
  const terms = termsOf(x, params, sizes);
  const list = (names: readonly Name[]): string => names.map((name) => terms[name]).join(", ");
  const text = `${list(inputs)} -> ${list(outputs)}`;
  const known = whole.filter((name) => new RegExp(`\\b${name}\\b`).test(text));
  return rule(text, { whole: known, sizes: { g: sizes.groups, r: sizes.heads / sizes.groups } });
}

/** A row of weights needs all of its keys. */
export const attentionRule = (x: AttentionOperands<Aval>, params: AttentionParams, sizes: AttentionSizes): RuleText =>
  ruleOf(x, params, sizes, ["q", ...SHARED_OPERANDS, "sink", "key"], ["out", "max", "sum"], ["t", "d", "e"]);

/** With the statistics of its row a weight needs its own key only, so that gradients of queries are sums over parts of the keys. */
export const attentionBackwardRule = (
  x: AttentionOperands<Aval>,
  params: AttentionParams,
  sizes: AttentionSizes,
  outputs: readonly ("q" | "k" | "v" | "bias")[],
): RuleText => {
  const inputs = ["q", "out", "max", "sum", "dout", ...SHARED_OPERANDS, "key", "dlse"] as const;
  return ruleOf(x, params, sizes, inputs, outputs, ["d", "e"]);
};

/**
 * The operands and parameters of a shard. A part of the queries or keys, of which a causal mask or a window counts the places, is
 * told where it lies, and so are weights that are dropped by their index among all.
 */
export function placed<T extends AttentionOperands<Tensor>>(
  x: T,
  params: AttentionParams,
  shard: Shard,
): [operands: T, params: AttentionParams] {
  const { causal, windowLeft, windowRight, bottomRight } = params;
  const own = params.dropout > 0 ? { ...params, ...placedWeights(x, params, shard) } : params;
  const [queries, keys] = [shard.rule.factors.s, shard.rule.factors.t];
  const isPlaced = causal || windowLeft >= 0 || windowRight >= 0;
  if (!isPlaced || !queries || !keys || !(shard.ranges.s || shard.ranges.t)) return [x, own];
  const places = (factor: "s" | "t", shift: number): Tensor => {
    const { start, size } = shard.range(factor);
    return arange(size)
      .add(start + shift)
      .broadcastTo([shard.range("b").size, size]);
  };
  const positionsQ = x.positionsQ ?? places("s", bottomRight ? keys.size - queries.size : 0);
  const positionsKv = x.positionsKv ?? places("t", 0);
  return [
    { ...x, positionsQ, positionsKv },
    { ...own, bottomRight: false },
  ];
}

/** Where the weights of a shard lie among all. Packed queries and keys are whole, and no factors. */
function placedWeights(
  x: AttentionOperands<Tensor>,
  params: AttentionParams,
  shard: Shard,
): Pick<AttentionParams, "weightsOf" | "weightsStart"> {
  const { factors } = shard.rule;
  const dims = ["b", "g", "r", "s", "t"].map((name) => (Object.hasOwn(factors, name) ? [name] : []));
  const lengths = weightShape(sizesOf(x, params));
  const shape = dims.map(([name], i) => (name === undefined ? lengths[i]! : factors[name]!.size));
  const { of, start } = shard.placeOf({ shape, dims }, placeOfWeights(params));
  return { weightsOf: of, weightsStart: start };
}
