/** What a call of attention asks for: its options, its sizes, and the errors of calls that ask for the impossible. */
import type { Aval, Tensor } from "@te/tensor";
import {
  checkPlace,
  expectDType,
  expectShape,
  FLOATS,
  fail,
  formatAval,
  isFloat,
  type Place,
  sameShape,
} from "@te/tensor/op";

export interface AttentionParams {
  /** Order of the leading axes of q, k, v and out: batch and sequence, or sequence and batch. */
  layout: "bshd" | "sbhd";
  /** "qkv": q holds [B, S, 3, h, d]; "kv": k holds [B, Skv, 2, g, d]; "none": three tensors. */
  packing: "none" | "qkv" | "kv";
  scale: number;
  /** Key j is visible from query i only if j <= i. */
  causal: boolean;
  /** Counts queries from the end: i becomes i + Skv - Sq in `causal` and in the window. */
  bottomRight: boolean;
  /** Keys i - windowLeft to i + windowRight are visible; -1: no limit. */
  windowLeft: number;
  windowRight: number;
  /** softmax(scale * (qk + bias)) or softmax(scale * qk + bias). */
  biasType: "none" | "pre_scale" | "post_scale";
  /** One more logit in the denominator: 0 (off_by_one) or sink[head] (learnable). It is not scaled. */
  softmaxType: "vanilla" | "off_by_one" | "learnable";
  /** Probability of dropping a weight. */
  dropout: number;
  /**
   * Where the weights are a part of more of them: the shape of all, [B, g, h/g, Sq, Skv], and the index of the first in it.
   * Dropout counts there. Both are empty where they are all.
   */
  weightsOf: readonly number[];
  weightsStart: readonly number[];
  /** Cast q and k to float32 before their product. Logits are float32 either way. */
  float32Logits: boolean;
}

export const ATTENTION_DEFAULTS: AttentionParams = {
  layout: "bshd",
  packing: "none",
  scale: 1,
  causal: false,
  bottomRight: false,
  windowLeft: -1,
  windowRight: -1,
  biasType: "none",
  softmaxType: "vanilla",
  dropout: 0,
  weightsOf: [],
  weightsStart: [],
  float32Logits: false,
};

export interface AttentionSizes {
  readonly batch: number;
  readonly queries: number;
  readonly keys: number;
  readonly heads: number;
  readonly groups: number;
  readonly depth: number;
  readonly valueDepth: number;
}

/** What the lists among the options hold. */
export const ATTENTION_KINDS = { weightsOf: "sizes", weightsStart: "sizes" } as const;

/** Where the weights lie among all. */
export const placeOfWeights = ({ weightsOf, weightsStart }: AttentionParams): Place => ({
  of: weightsOf,
  start: weightsStart,
});

/** The shape of the weights, by groups of heads: [B, g, h/g, Sq, Skv]. */
export const weightShape = ({ batch, groups, heads, queries, keys }: AttentionSizes): number[] => [
  batch,
  groups,
  heads / groups,
  queries,
  keys,
];

/** The operands beside q that forward and backward share. */
export const SHARED_OPERANDS = [
  "k",
  "v",
  "bias",
  "mask",
  "segmentsQ",
  "segmentsKv",
  "positionsQ",
  "positionsKv",
] as const;

type Operand = "q" | (typeof SHARED_OPERANDS)[number] | "sink" | "key";
export type AttentionOperands<T> = { readonly q: T } & { readonly [K in Operand]?: T | undefined };

const FN = "attention";

function checkOptions(params: AttentionParams): void {
  const choices = {
    layout: ["bshd", "sbhd"],
    packing: ["none", "qkv", "kv"],
    biasType: ["none", "pre_scale", "post_scale"],
    softmaxType: ["vanilla", "off_by_one", "learnable"],
  } as const;
  for (const [name, known] of Object.entries(choices)) {
    const value = params[name as keyof typeof choices];
    if (!(known as readonly string[]).includes(value))
      fail("option", FN, `${name} must be one of ${known.join(", ")}`, value);
  }
  for (const name of ["windowLeft", "windowRight"] as const) {
    if (!Number.isInteger(params[name]) || params[name] < -1 || params[name] >= 2 ** 31) {
      fail("option", FN, `${name} must be an integer of 0 or more that int32 holds, or -1 for no limit`, params[name]);
    }
  }
  if (!(params.dropout >= 0 && params.dropout < 1)) {
    fail(
      "option",
      FN,
      "dropout must be in [0, 1)",
      params.dropout,
      "Dropping every weight leaves nothing to scale up.",
    );
  }
  if (!Number.isFinite(params.scale))
    fail("option", FN, "scale must be finite", params.scale, "1 / sqrt(depth) is usual.");
}

/** q, k and v as [.., heads, depth] whatever their packing. */
function unpacked({ q, k, v }: AttentionOperands<Aval>, { packing }: AttentionParams): [q: Aval, k: Aval, v: Aval] {
  const need = { none: ["k", "v"], kv: ["k"], qkv: [] }[packing] as readonly string[];
  for (const [name, given] of Object.entries({ k, v })) {
    if (need.includes(name) && !given)
      fail("option", FN, `packing "${packing}" needs ${name}`, "none", `Pass ${name}.`);
    if (!need.includes(name) && given)
      fail("option", FN, `packing "${packing}" takes no ${name}`, given, `Leave ${name} out.`);
  }
  const part = (name: string, packed: Aval, count: number): Aval => {
    const rule = `${name} with packing "${packing}" must have 5 axes, [.., .., ${count}, heads, depth]`;
    if (packed.shape.length !== 5 || packed.shape[2] !== count) fail("shape", FN, rule, packed, "Stack along axis 2.");
    return { shape: packed.shape.filter((_, axis) => axis !== 2), dtype: packed.dtype };
  };
  if (packing === "qkv") {
    const x = part("q", q, 3);
    return [x, x, x];
  }
  if (packing === "kv") {
    const x = part("k", k!, 2);
    return [q, x, x];
  }
  return [q, k!, v!];
}

function readSizes(q: Aval, k: Aval, v: Aval, { layout }: AttentionParams): AttentionSizes {
  const axes = layout === "bshd" ? "[batch, length, heads, depth]" : "[length, batch, heads, depth]";
  for (const [name, a] of Object.entries({ q, k, v })) {
    if (a.shape.length !== 4) fail("shape", FN, `${name} must have 4 axes, ${axes}`, a, "Reshape it.");
  }
  expectDType(FN, { q }, ...FLOATS);
  for (const [name, a] of Object.entries({ k, v })) {
    if (a.dtype !== q.dtype)
      fail("dtype", FN, `${name} must have the dtype of q, ${q.dtype}`, a, "Cast one with astype.");
  }
  const [batchAxis, lengthAxis] = layout === "bshd" ? [0, 1] : [1, 0];
  const at = (a: Aval, axis: number): number => a.shape[axis]!;
  const equal = (what: string, a: Aval, b: Aval, axis: number, names: string): void => {
    if (at(a, axis) === at(b, axis)) return;
    fail("shape", FN, `${names} must have the same ${what} (axis ${axis})`, `${formatAval(a)} and ${formatAval(b)}`);
  };
  equal("batch size", q, k, batchAxis, "q and k");
  equal("batch size", k, v, batchAxis, "k and v");
  equal("length", k, v, lengthAxis, "k and v");
  equal("number of heads", k, v, 2, "k and v");
  equal("depth", q, k, 3, "q and k");
  const [heads, groups] = [at(q, 2), at(k, 2)];
  if (groups === 0 || heads % groups !== 0) {
    fail("shape", FN, "the heads of q must be a multiple of the heads of k", `${heads} and ${groups}`);
  }
  return {
    batch: at(q, batchAxis),
    queries: at(q, lengthAxis),
    keys: at(k, lengthAxis),
    heads,
    groups,
    depth: at(q, 3),
    valueDepth: at(v, 3),
  };
}

/** Throws unless `a` is [1 or batch, 1 or heads, rows, keys]. */
function expectScores(
  name: string,
  a: Aval,
  s: AttentionSizes,
  rows: readonly number[],
  wayOut = "Reshape or broadcast it.",
): void {
  const [b, h, i, j] = a.shape;
  const fits =
    a.shape.length === 4 && [1, s.batch].includes(b!) && [1, s.heads].includes(h!) && rows.includes(i!) && j === s.keys;
  if (fits) return;
  const shape = `[1 or ${s.batch}, 1 or ${s.heads}, ${[...new Set(rows)].join(" or ")}, ${s.keys}]`;
  fail("shape", FN, `${name} must have shape ${shape}: batch, heads, queries, keys in any layout`, a, wayOut);
}

/**
 * Throws unless the mask is bool or uint8 of the scores' shape. Other libraries mark the visible: their masks come as integers,
 * as additive floats or as [batch, keys], and a mere cast would leave them inverted.
 */
function checkMask(mask: Aval, s: AttentionSizes): void {
  if (mask.dtype !== "bool" && mask.dtype !== "uint8") {
    const wayOut = isFloat(mask.dtype)
      ? "An additive mask (0 or a large negative number) is mask.lt(0) here, one of 1 = visible is mask.eq(0)."
      : 'Pass mask.eq(0) where 1 means visible, as in Hugging Face, or mask.astype("bool") where 1 means hidden.';
    fail("dtype", FN, "mask must be bool or uint8, 1 or true = hidden", mask, wayOut);
  }
  const ofKeys = mask.shape.length === 2 && mask.shape[0] === s.batch && mask.shape[1] === s.keys;
  const reshaped = `mask.reshape([${s.batch}, 1, 1, ${s.keys}]) where 1 means hidden`;
  const wayOut = ofKeys
    ? `Pass ${reshaped}, mask.eq(0) so reshaped where 1 means visible.`
    : "Reshape or broadcast it; 1 or true = hidden.";
  expectScores("mask", mask, s, [1, s.queries], wayOut);
}

function checkVisibility(x: AttentionOperands<Aval>, params: AttentionParams, s: AttentionSizes): void {
  const { mask, segmentsQ, segmentsKv, positionsQ, positionsKv } = x;
  if (mask) {
    checkMask(mask, s);
  }
  if (!segmentsQ !== !segmentsKv) {
    fail(
      "option",
      FN,
      "segmentsQ and segmentsKv go together",
      segmentsQ ? "segmentsQ alone" : "segmentsKv alone",
      "Pass both.",
    );
  }
  expectDType(FN, { segmentsQ, segmentsKv, positionsQ, positionsKv }, "int32");
  expectShape(FN, { segmentsQ, positionsQ }, [s.batch, s.queries], "batch and length of q, in any layout");
  expectShape(FN, { segmentsKv, positionsKv }, [s.batch, s.keys], "batch and length of k, in any layout");
  if (params.bottomRight && (positionsQ || positionsKv)) {
    const wayOut = "Add the difference of the lengths to positionsQ instead.";
    fail("option", FN, "bottomRight counts in indices and does not go with positions", "both", wayOut);
  }
}

function checkWeights(
  { q, bias, sink, key }: AttentionOperands<Aval>,
  params: AttentionParams,
  s: AttentionSizes,
): void {
  const { biasType, softmaxType, dropout } = params;
  if ((biasType === "none") === (bias !== undefined)) {
    fail(
      "option",
      FN,
      `biasType "${biasType}" ${bias ? "takes no bias" : "needs a bias"}`,
      bias ?? "none",
      bias ? "Name its type." : "",
    );
  }
  if (bias) {
    expectDType(FN, { bias }, ...FLOATS);
    expectScores("bias", bias, s, [s.queries]);
  }
  if ((softmaxType === "learnable") !== (sink !== undefined)) {
    fail("option", FN, `softmaxType "${softmaxType}" ${sink ? "takes no sink" : "needs a sink"}`, sink ?? "none");
  }
  expectDType(FN, { sink }, "float32");
  expectShape(FN, { sink }, [s.heads], `the heads of q: ${formatAval(q)}`);
  if (dropout > 0 && !key) fail("option", FN, "dropout needs a key", "none", "Make one with random.key(seed).");
  expectDType(FN, { key }, "uint32");
  expectShape(FN, { key }, [2], "a random key");
  checkPlace(FN, weightShape(s), placeOfWeights(params));
}

/** The sizes of a call, whatever else it asks for. */
export const sizesOf = (x: AttentionOperands<Aval>, params: AttentionParams): AttentionSizes =>
  readSizes(...unpacked(x, params), params);

/** Checks a call and reads its sizes. Throws TeError ("shape", "dtype" or "option"). */
export function readAttention(x: AttentionOperands<Aval>, params: AttentionParams): AttentionSizes {
  checkOptions(params);
  const sizes = sizesOf(x, params);
  checkVisibility(x, params, sizes);
  checkWeights(x, params, sizes);
  return sizes;
}

/** The shape of out: that of q, with the depth of v. */
export function outShape({ batch, queries, heads, valueDepth }: AttentionSizes, { layout }: AttentionParams): number[] {
  return layout === "bshd" ? [batch, queries, heads, valueDepth] : [queries, batch, heads, valueDepth];
}

/**
 * Of every row of logits, with the sink, float32 [B, h, Sq]: the largest, -inf where there is none, and the sum of
 * e^(logit - max). The log-sum-exp is max + log(sum); it is kept in two numbers, because float32 loses log(sum) beside a max
 * of -1e9. With them a weight is e^(logit - max) / sum, and the weights of a row sum to 1 wherever its logits lie. Parts of a
 * row merge: with max = the larger of both and f = e^(max_part - max), sum = Σ f sum_part and out = Σ f sum_part out_part / sum.
 */
export interface Statistics<T = Tensor> {
  readonly max: T;
  readonly sum: T;
}

export interface BackwardOperands<T> extends AttentionOperands<T>, Statistics<T> {
  /** What attention gave. The sink shaped the statistics and leaves no other trace. */
  readonly out: T;
  readonly dout: T;
  /** The cotangent of the log-sum-exp. */
  readonly dlse?: T | undefined;
}

/** Checks a call of a backward op and reads its sizes. */
export function readBackward(x: BackwardOperands<Aval>, params: AttentionParams): AttentionSizes {
  const fn = "attentionBackward";
  const sizes = readAttention(x, { ...params, softmaxType: "vanilla" });
  const shape = outShape(sizes, params);
  for (const [name, a] of Object.entries({ out: x.out, dout: x.dout })) {
    if (a.dtype === x.q.dtype && sameShape(a.shape, shape)) continue;
    fail("shape", fn, `${name} must be ${x.q.dtype}[${shape}], as attention gave out`, a);
  }
  const rows = [sizes.batch, sizes.heads, sizes.queries];
  for (const [name, a] of Object.entries({ max: x.max, sum: x.sum, dlse: x.dlse })) {
    if (!a || (a.dtype === "float32" && sameShape(a.shape, rows))) continue;
    fail("shape", fn, `${name} must be float32[${rows}]`, a);
  }
  return sizes;
}
