/** The calls that test and time attention and its gradients on every backend. */
import type { DType } from "@te/tensor";
import type { Case, CaseBuilder, Fill } from "@te/tensor/op";
import type { AttentionParams } from "./attention-problem.js";

type Kind = "forward" | "backward" | "bias";

interface Sizes {
  batch: number;
  queries: number;
  keys: number;
  heads: number;
  groups: number;
  depth: number;
  valueDepth: number;
}

interface Wanted extends Partial<Sizes> {
  dtype?: DType;
  params?: Partial<AttentionParams>;
  /** Leading axes of bias and mask. */
  bias?: readonly [number, number];
  mask?: readonly [number, number, number];
  segments?: boolean;
  positions?: "queries" | "both";
  /** Probability that the mask hides a key: 1 hides all. */
  hidden?: number;
}

const SIZES: Sizes = { batch: 2, queries: 19, keys: 19, heads: 2, groups: 2, depth: 8, valueDepth: 8 };

function wireShape(
  { layout }: Partial<AttentionParams>,
  batch: number,
  length: number,
  rest: readonly number[],
): number[] {
  return layout === "sbhd" ? [length, batch, ...rest] : [batch, length, ...rest];
}

function operands(c: CaseBuilder, kind: Kind, wanted: Wanted): Record<string, Fill> {
  const { dtype = "float32", params = {}, bias, mask, segments, positions, hidden = 0.3 } = wanted;
  const { batch, queries, keys, heads, groups, depth, valueDepth } = { ...SIZES, ...wanted };
  const fill = (length: number, rest: readonly number[]): Fill =>
    c.normal(wireShape(params, batch, length, rest), { dtype });
  const { packing = "none" } = params;
  const inputs: Record<string, Fill> = { q: fill(queries, packing === "qkv" ? [3, heads, depth] : [heads, depth]) };
  if (packing !== "qkv") inputs.k = fill(keys, packing === "kv" ? [2, groups, depth] : [groups, depth]);
  if (packing === "none") inputs.v = fill(keys, [groups, valueDepth]);
  if (bias) inputs.bias = c.normal([...bias, queries, keys], { dtype });
  if (mask) inputs.mask = c.bools([...mask, keys], { p: hidden });
  const rows = (length: number, high: number): Fill => c.integers([batch, length], { high });
  if (segments) Object.assign(inputs, { segmentsQ: rows(queries, 3), segmentsKv: rows(keys, 3) });
  if (positions) inputs.positionsQ = rows(queries, keys);
  if (positions === "both") inputs.positionsKv = rows(keys, keys);
  if (params.dropout) inputs.key = c.values([2], [3, 4000000000], "uint32");
  if (kind === "forward") {
    if (params.softmaxType === "learnable") inputs.sink = c.normal([heads]);
    return inputs;
  }
  const max = c.normal([batch, heads, queries]);
  return {
    ...inputs,
    out: fill(queries, [heads, valueDepth]),
    max,
    sum: c.uniform(max.shape, { low: 5, high: 30 }),
    dout: fill(queries, [heads, valueDepth]),
    dlse: c.normal(max.shape),
  };
}

const CASES: Record<string, Wanted> = {
  plain: {},
  "scale 1": { depth: 3, params: { scale: 1 } },
  causal: { params: { causal: true } },
  "odd sizes": { queries: 21, keys: 35, depth: 11, valueDepth: 5, params: { scale: 0.3 } },
  "several blocks": {
    batch: 1,
    queries: 70,
    keys: 270,
    heads: 1,
    groups: 1,
    params: { causal: true, bottomRight: true },
  },
  "bottom right, more queries than keys": { queries: 20, keys: 9, params: { causal: true, bottomRight: true } },
  "window 16 0": { queries: 33, keys: 33, params: { windowLeft: 16, windowRight: 0 } },
  "window 2 2": { params: { windowLeft: 2, windowRight: 2 } },
  "window 0 0": { params: { windowLeft: 0, windowRight: 0 } },
  "window -1 3": { params: { windowRight: 3 } },
  "causal window from the bottom right": { keys: 30, params: { causal: true, windowLeft: 4, bottomRight: true } },
  "grouped heads": { heads: 6, groups: 2, params: { causal: true } },
  "one group": { heads: 4, groups: 1, keys: 33 },
  "one query": { queries: 1, keys: 40, heads: 4, groups: 2 },
  "padding mask": { mask: [2, 1, 19] },
  "padding mask and causal": { mask: [2, 1, 19], params: { causal: true } },
  "mask per head": { mask: [1, 2, 19] },
  "mask of keys": { mask: [2, 1, 1], keys: 33 },
  "everything hidden": { mask: [2, 1, 19], hidden: 1 },
  "pre-scale bias": { bias: [1, 2], params: { biasType: "pre_scale" } },
  "post-scale bias and mask": { bias: [2, 2], mask: [2, 1, 19], params: { biasType: "post_scale" } },
  "one bias for all": { bias: [1, 1], params: { biasType: "post_scale", causal: true } },
  "off by one": { params: { softmaxType: "off_by_one" } },
  "off by one, everything hidden": { mask: [1, 1, 19], hidden: 1, params: { softmaxType: "off_by_one" } },
  learnable: { params: { softmaxType: "learnable", causal: true } },
  "dropout 0.1": { params: { dropout: 0.1 } },
  "dropout 0.5, grouped, causal": { heads: 4, params: { dropout: 0.5, causal: true } },
  "dropout of a part": {
    heads: 4,
    params: { dropout: 0.3, weightsOf: [6, 3, 4, 38, 19], weightsStart: [2, 1, 2, 19, 0] },
  },
  segments: { segments: true, queries: 33, keys: 29 },
  "segments, positions, causal window": { segments: true, positions: "both", params: { causal: true, windowLeft: 9 } },
  "positions of queries": { positions: "queries", params: { causal: true }, keys: 30 },
  "sequence first": { keys: 25, heads: 4, valueDepth: 6, params: { layout: "sbhd", causal: true } },
  "packed qkv": { params: { packing: "qkv", causal: true } },
  "packed qkv, sequence first": { params: { packing: "qkv", layout: "sbhd" } },
  "packed kv": { heads: 4, keys: 27, params: { packing: "kv" } },
  "few queries, many keys": {
    batch: 1,
    queries: 2,
    keys: 2300,
    groups: 1,
    params: { causal: true, bottomRight: true },
  },
  "few queries, many keys, most of them hidden": {
    queries: 1,
    keys: 4200,
    heads: 1,
    groups: 1,
    valueDepth: 5,
    positions: "queries",
    mask: [2, 1, 1],
    params: { causal: true, softmaxType: "off_by_one" },
  },
  "float32 logits": { params: { float32Logits: true } },
};

const NARROW = [
  "plain",
  "causal",
  "odd sizes",
  "grouped heads",
  "padding mask",
  "post-scale bias and mask",
  "learnable",
  "dropout 0.1",
  "few queries, many keys",
];

/** A layer's attention and the operations of one of its products, of which there are 2 forward and 5 backward. */
const LAYER: Wanted = { batch: 8, queries: 256, keys: 256, heads: 8, groups: 8, depth: 64, valueDepth: 64 };
const PRODUCT = 2 * 8 * 8 * 256 * 256 * 64;

export function attentionCases(c: CaseBuilder, kind: Kind): Case[] {
  const chosen = Object.entries(CASES).filter(([, wanted]) => kind !== "bias" || wanted.bias);
  const one = (name: string, wanted: Wanted, dtype: DType): Case => {
    const params = { scale: 0.35, ...wanted.params };
    const options = { gradient: kind === "forward" && dtype === "float32" };
    return c.case(`${name} ${dtype}`, operands(c, kind, { ...wanted, dtype }), params, options);
  };
  return [
    ...chosen.map(([name, wanted]) => one(name, wanted, "float32")),
    ...chosen
      .filter(([name]) => NARROW.includes(name))
      .flatMap(([name, wanted]) => [one(name, wanted, "bfloat16"), one(name, wanted, "float16")]),
    ...(kind === "bias" ? [biasBench(c)] : benches(c, kind)),
  ];
}

function benches(c: CaseBuilder, kind: Kind): Case[] {
  const products = kind === "forward" ? 2 : 5;
  return (["float32", "bfloat16"] as const).flatMap((dtype) =>
    [true, false].map((causal) => {
      const wanted: Wanted = { ...LAYER, dtype, params: { causal, scale: 0.125 } };
      const name = `batch 8, length 256, 8 heads of 64, ${causal ? "causal" : "full"}, ${dtype}`;
      // A causal mask leaves half of the products.
      const flops = (products * PRODUCT) / (causal ? 2 : 1);
      return c.bench(name, operands(c, kind, wanted), wanted.params!, { flops });
    }),
  );
}

/** The gradient of a bias takes two products: the logits and dout · vᵀ. */
function biasBench(c: CaseBuilder): Case {
  const wanted: Wanted = { ...LAYER, bias: [1, 8], params: { biasType: "post_scale", scale: 0.125 } };
  const name = "batch 8, length 256, 8 heads of 64, float32";
  return c.bench(name, operands(c, "bias", wanted), wanted.params!, { flops: 2 * PRODUCT });
}
