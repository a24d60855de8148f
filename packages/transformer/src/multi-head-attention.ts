import {
  DenseGeneral,
  type Initializer,
  LayerNormDenseGeneral,
  type LayerNormType,
  Module,
  stackSlices,
  type Variable,
  varianceScaling,
} from "@te/layers";
import {
  BATCH_AXES,
  withShardingConstraintByLogicalAxes as constrain,
  HEAD_AXES,
  HIDDEN_AXES,
  HIDDEN_TP_AXES,
  JOINED_AXES,
  SEQLEN_AXES,
  SEQLEN_TP_AXES,
  W_FSDP_AXES,
  W_JOINED_AXES,
  W_NO_SHARD_AXES,
  W_TP_AXES,
} from "@te/sharding";
import { arange, checkpointName, type DType, dynamicUpdateSlice, TeError, type Tensor, zeros } from "@te/tensor";
import { parseRopeMethod, type RopeMethod } from "./attention-options.js";
import { checkGroups, DotProductAttention } from "./dot-product-attention.js";
import { type LoraScope, loraUses, parseLoraScope } from "./lora-scope.js";
import { rope } from "./ops/rope.js";
import { SequenceDescriptor } from "./sequence-descriptor.js";

export interface MultiHeadAttentionOptions {
  headDim: number;
  numAttentionHeads?: number;
  /** Another name of numAttentionHeads. */
  numHeads?: number;
  /** Number of key and value heads; default numAttentionHeads. */
  numGqaGroups?: number;
  attentionDropout?: number;
  dropoutRngName?: string;
  /** Normalise the query input (in self-attention that of keys and values too). Default true. */
  inputLayernorm?: boolean;
  layernormType?: LayerNormType;
  layernormEpsilon?: number;
  zeroCenteredGamma?: boolean;
  returnLayernormOutput?: boolean;
  /** Of q, k, v and out. Default varianceScaling(1, "fan_in", "normal"). */
  kernelInit?: Initializer;
  useBias?: boolean;
  biasInit?: Initializer;
  attnMaskType?: string;
  attnBiasType?: string;
  enableRotaryPosEmb?: boolean;
  /** Smallest and largest time scale. Default [1, 10000]. */
  rotaryPosEmbWindows?: readonly [number, number];
  /** consecutive (default) or alternate. */
  rotaryPosEmbGroupMethod?: string;
  lowRankAdaptationScope?: string | null;
  lowRankAdaptationDim?: number;
  lowRankAdaptationAlpha?: number | null;
  dtype?: DType;
  /** One product for q, k and v (self-attention) or for k and v. Default true. */
  fuseQkvParams?: boolean;
  transposeBatchSequence?: boolean;
  enableSequenceParallel?: boolean;
  /** Scale logits by 1 / sqrt(headDim). Default false: the query kernel's initial values carry the scale instead. */
  scaleAttnLogits?: boolean;
  /** Divide the query kernel's initial values by sqrt(headDim). Default true. */
  scaledQueryInit?: boolean;
  float32Logits?: boolean;
  windowSize?: readonly [number, number] | null;
  softmaxType?: string;
  name?: string;
}

export interface MultiHeadAttentionCallOptions {
  deterministic?: boolean;
  /** Read and extend the KV cache (collection "cache"); inputs are the new tokens only, any number of them. */
  decode?: boolean;
}

/** Keys and values of the layer's input, in the layout that attention takes. */
interface Projected {
  readonly q: Tensor;
  readonly k: Tensor | undefined;
  readonly v: Tensor | undefined;
  readonly packing: "bs3hd" | "bshd_bs2hd" | "bshd_bshd_bshd";
  readonly normalized: Tensor | undefined;
}

/**
 * Attention with its projections. `call(inputsQ, inputsKv, mask?, bias?, { deterministic, decode })` gives [out,
 * layernormOutput | undefined]; the second is there when returnLayernormOutput asks for it, and whenever query is a
 * projection of its own that k and v share the norm with. out is like inputsQ, [B, S, H] (or [S, B, H] with transposeBatchSequence). Passing the
 * same tensor twice is self-attention. Submodules: qkv, or query and kv, or query, key and value; and out. Collection
 * cache (decode): cached_key, cached_value [B, L, groups, headDim], cache_index int32, where L is the length at init.
 */
export class MultiHeadAttention extends Module {
  readonly headDim: number;
  readonly numAttentionHeads: number;
  readonly numGqaGroups: number;
  private readonly fuse: boolean;
  private readonly sequenceFirst: boolean;
  private readonly ropeMethod: RopeMethod;
  private readonly loraScope: LoraScope;

  constructor(private readonly options: MultiHeadAttentionOptions) {
    super(options);
    const fn = "MultiHeadAttention";
    const heads = options.numAttentionHeads ?? options.numHeads;
    if (heads === undefined) throw new TeError("option", `${fn}: numAttentionHeads is required.`);
    this.headDim = options.headDim;
    this.numAttentionHeads = heads;
    this.numGqaGroups = options.numGqaGroups ?? heads;
    checkGroups(fn, heads, this.numGqaGroups);
    this.fuse = options.fuseQkvParams ?? true;
    this.sequenceFirst = options.transposeBatchSequence ?? false;
    this.ropeMethod = parseRopeMethod(fn, options.rotaryPosEmbGroupMethod ?? "consecutive");
    this.loraScope = parseLoraScope(fn, options.lowRankAdaptationScope);
  }

  protected override get optionsPosition(): number {
    return 4;
  }

  call(
    inputsQ: Tensor,
    inputsKv: Tensor,
    mask?: Tensor | SequenceDescriptor | null,
    bias?: Tensor | null,
    { deterministic = false, decode = false }: MultiHeadAttentionCallOptions = {},
  ): [out: Tensor, layernormOutput: Tensor | undefined] {
    const { options } = this;
    checkInputs(inputsQ, inputsKv);
    const query = this.constrainInput(inputsQ);
    const isSelf = inputsQ === inputsKv;
    let projected = this.project(query, isSelf ? query : inputsKv, isSelf);
    const index = decode ? this.cacheIndex() : undefined;
    if (options.enableRotaryPosEmb || decode) projected = this.unpack(projected);
    if (options.enableRotaryPosEmb) projected = this.rotate(projected, index?.value);
    projected = this.constrainHeads(projected);
    const context = index
      ? this.attendToCache(projected, index, mask, bias, deterministic)
      : this.attention(projected.packing).call(projected.q, projected.k, projected.v, mask, bias, { deterministic });
    const joined = constrain(
      context.reshape([...context.shape.slice(0, 2), this.numAttentionHeads * this.headDim]),
      this.axes(BATCH_AXES, SEQLEN_AXES, HIDDEN_TP_AXES),
    );
    const out = checkpointName(this.outputProjection(inputsQ.shape.at(-1)!).call(joined), "out_proj");
    return [out, projected.normalized];
  }

  private axes(...batchFirst: string[]): string[] {
    const [batch, sequence, ...rest] = batchFirst as [string, string, ...string[]];
    return this.sequenceFirst ? [sequence, batch, ...rest] : batchFirst;
  }

  private constrainInput(x: Tensor): Tensor {
    return constrain(
      x,
      this.axes(BATCH_AXES, this.options.enableSequenceParallel ? SEQLEN_TP_AXES : SEQLEN_AXES, HIDDEN_AXES),
    );
  }

  private constrainHeads(p: Projected): Projected {
    const separate = this.axes(BATCH_AXES, SEQLEN_AXES, HEAD_AXES, HIDDEN_AXES);
    const packed = this.axes(BATCH_AXES, SEQLEN_AXES, JOINED_AXES, HEAD_AXES, HIDDEN_AXES);
    const fit = (t: Tensor | undefined) => t && constrain(t, t.rank === 5 ? packed : separate);
    return { ...p, q: fit(p.q)!, k: fit(p.k), v: fit(p.v) };
  }

  private kernelInit(): Initializer {
    return this.options.kernelInit ?? varianceScaling(1, "fan_in", "normal");
  }

  /** The query kernel's initial values, divided by sqrt(headDim) unless scaledQueryInit is off. */
  private queryInit(): Initializer {
    const init = this.kernelInit();
    if (this.options.scaledQueryInit === false) return init;
    return (key, shape, dtype) => init(key, shape, dtype).div(Math.sqrt(this.headDim));
  }

  private lora(part: "qkv_proj" | "output_proj") {
    return {
      enableLowRankAdaptation: loraUses(this.loraScope, part),
      lowRankAdaptationDim: this.options.lowRankAdaptationDim ?? 32,
      lowRankAdaptationAlpha: this.options.lowRankAdaptationAlpha ?? undefined,
    };
  }

  private common(part: "qkv_proj" | "output_proj") {
    const { useBias = false, biasInit, dtype, transposeBatchSequence } = this.options;
    return { useBias, biasInit, dtype, transposeBatchSequence, ...this.lora(part) };
  }

  private normalizedDense(
    name: string,
    features: number | readonly number[],
    kernelInit: Initializer,
    kernelAxes: string[],
    biasAxes: string[],
    returnOutput: boolean,
  ) {
    const {
      inputLayernorm = true,
      layernormType,
      layernormEpsilon,
      zeroCenteredGamma,
      enableSequenceParallel,
    } = this.options;
    return new LayerNormDenseGeneral({
      ...this.common("qkv_proj"),
      name,
      features,
      enableLayernorm: inputLayernorm,
      layernormType,
      epsilon: layernormEpsilon,
      zeroCenteredGamma,
      scaleAxes: [W_NO_SHARD_AXES],
      lnBiasAxes: [W_NO_SHARD_AXES],
      kernelInit,
      kernelAxes,
      biasAxes,
      returnLayernormOutput: returnOutput,
      layernormInputAxes: this.axes(BATCH_AXES, enableSequenceParallel ? SEQLEN_TP_AXES : SEQLEN_AXES, HIDDEN_AXES),
      dotInputAxes: this.axes(BATCH_AXES, SEQLEN_AXES, HIDDEN_AXES),
    });
  }

  private dense(
    name: string,
    features: number | readonly number[],
    kernelInit: Initializer,
    kernelAxes: string[],
    biasAxes: string[],
  ) {
    return new DenseGeneral({ ...this.common("qkv_proj"), name, features, kernelInit, kernelAxes, biasAxes });
  }

  private project(inputsQ: Tensor, inputsKv: Tensor, isSelf: boolean): Projected {
    const { numAttentionHeads: h, numGqaGroups: g, headDim: d, fuse } = this;
    const wantsNormalized = this.options.returnLayernormOutput ?? false;
    const heads = (x: Tensor, ...tail: number[]): Tensor => x.reshape([...x.shape.slice(0, 2), ...tail]);
    const init = this.kernelInit();
    const column = [W_FSDP_AXES, W_TP_AXES];
    const packed = [W_FSDP_AXES, W_JOINED_AXES, W_TP_AXES];
    const packedBias = [W_JOINED_AXES, W_TP_AXES];
    if (fuse && isSelf && h === g) {
      const qkvInit = stackSlices([this.queryInit(), init, init]);
      const [qkv, normalized] = this.normalizedDense(
        "qkv",
        [3, h * d],
        qkvInit,
        packed,
        packedBias,
        wantsNormalized,
      ).call(inputsQ);
      return {
        q: heads(checkpointName(qkv, "combined_qkv_proj"), 3, h, d),
        k: undefined,
        v: undefined,
        packing: "bs3hd",
        normalized,
      };
    }
    // The original hands the norm's output out wherever it has it; so does this.
    const needsNormalized = isSelf || !fuse || wantsNormalized;
    const [q, normalized] = this.normalizedDense(
      "query",
      h * d,
      this.queryInit(),
      column,
      [W_TP_AXES],
      needsNormalized,
    ).call(inputsQ);
    const source = isSelf ? normalized! : inputsKv;
    if (fuse) {
      const kv = this.dense("kv", [2, g * d], stackSlices([init, init]), packed, packedBias).call(source);
      return {
        q: heads(q, h, d),
        k: heads(checkpointName(kv, "combined_kv_proj"), 2, g, d),
        v: undefined,
        packing: "bshd_bs2hd",
        normalized,
      };
    }
    const k = this.dense("key", g * d, init, column, [W_TP_AXES]).call(source);
    const v = this.dense("value", g * d, init, column, [W_TP_AXES]).call(source);
    return {
      q: heads(checkpointName(q, "query_proj"), h, d),
      k: heads(checkpointName(k, "key_proj"), g, d),
      v: heads(checkpointName(v, "value_proj"), g, d),
      packing: "bshd_bshd_bshd",
      normalized,
    };
  }

  /** Separate q, k and v, whatever they were. */
  private unpack(p: Projected): Projected {
    const slot = (t: Tensor, i: number): Tensor =>
      t.slice([0, 0, i, 0, 0], [t.shape[0]!, t.shape[1]!, i + 1, t.shape[3]!, t.shape[4]!]).squeeze(2);
    if (p.packing === "bs3hd")
      return { ...p, q: slot(p.q, 0), k: slot(p.q, 1), v: slot(p.q, 2), packing: "bshd_bshd_bshd" };
    if (p.packing === "bshd_bs2hd") return { ...p, k: slot(p.k!, 0), v: slot(p.k!, 1), packing: "bshd_bshd_bshd" };
    return p;
  }

  private rotate(p: Projected, start: Tensor | undefined): Projected {
    const [windowMin, windowMax] = this.options.rotaryPosEmbWindows ?? [1, 10000];
    const options = { method: this.ropeMethod, windowMin, windowMax, sequenceAxis: this.sequenceFirst ? 0 : 1 };
    const turn = (x: Tensor): Tensor => {
      const positions = start && arange(x.shape[options.sequenceAxis]!).add(start);
      return rope(x, { ...options, ...(positions && { positions }) });
    };
    return { ...p, q: turn(p.q), k: turn(p.k!) };
  }

  private attention(qkvLayout: Projected["packing"], maskType?: string): DotProductAttention {
    const { attnBiasType, attentionDropout, dropoutRngName, float32Logits, scaleAttnLogits, windowSize, softmaxType } =
      this.options;
    return new DotProductAttention({
      headDim: this.headDim,
      numAttentionHeads: this.numAttentionHeads,
      numGqaGroups: this.numGqaGroups,
      attnMaskType: maskType ?? this.options.attnMaskType,
      attnBiasType,
      attentionDropout,
      dropoutRngName,
      float32Logits,
      qkvLayout,
      scaleFactor: scaleAttnLogits ? 1 / Math.sqrt(this.headDim) : 1,
      transposeBatchSequence: this.sequenceFirst,
      windowSize,
      softmaxType,
    });
  }

  private outputProjection(features: number): DenseGeneral {
    return new DenseGeneral({
      ...this.common("output_proj"),
      name: "out",
      features,
      kernelInit: this.kernelInit(),
      kernelAxes: [W_TP_AXES, W_FSDP_AXES],
      biasAxes: [W_NO_SHARD_AXES],
    });
  }

  private cacheIndex(): Variable {
    return this.variable("cache", "cache_index", () => zeros([], { dtype: "int32" }));
  }

  /** Writes the new keys and values at cache_index and attends to positions 0 … cache_index + i for new token i. */
  private attendToCache(
    p: Projected,
    index: Variable,
    mask: Tensor | SequenceDescriptor | null | undefined,
    bias: Tensor | null | undefined,
    deterministic: boolean,
  ): Tensor {
    const cache = (name: string, of: Tensor): Variable =>
      this.variable("cache", name, () => zeros(of.shape, { dtype: of.dtype }));
    const keys = cache("cached_key", p.k!);
    const values = cache("cached_value", p.v!);
    if (mask instanceof SequenceDescriptor) {
      throw new TeError(
        "unsupported",
        "MultiHeadAttention: a SequenceDescriptor with decode is not supported yet. Pass a mask array [B, 1, newTokens, cacheLength].",
      );
    }
    if (this.initializing)
      return this.attention("bshd_bshd_bshd", "causal").call(p.q, p.k, p.v, null, bias, { deterministic });
    const axis = this.sequenceFirst ? 0 : 1;
    const [count, length] = [p.k!.shape[axis]!, keys.value.shape[axis]!];
    checkCache(p.k!, keys.value, axis);
    const zero = zeros([], { dtype: "int32" });
    const start = [0, 1, 2, 3].map((i) => (i === axis ? index.value : zero));
    keys.value = dynamicUpdateSlice(keys.value, p.k!, start);
    values.value = dynamicUpdateSlice(values.value, p.v!, start);
    const batch = p.k!.shape[1 - axis]!;
    const rows = (positions: Tensor): Tensor => positions.expandDims(0).broadcastTo([batch, positions.shape[0]!]);
    const now = rows(arange(count).add(index.value));
    const all = rows(arange(length));
    index.value = index.value.add(count);
    const sequences = SequenceDescriptor.fromPositions([now, all], mask ?? undefined);
    return this.attention("bshd_bshd_bshd", "padding_causal").call(p.q, keys.value, values.value, sequences, bias, {
      deterministic,
    });
  }
}

function checkInputs(q: Tensor, kv: Tensor): void {
  for (const [name, x] of Object.entries({ inputsQ: q, inputsKv: kv })) {
    if (x.rank !== 3)
      throw new TeError(
        "shape",
        `MultiHeadAttention: ${name} must have 3 axes (batch, sequence, hidden), got ${x.dtype}[${x.shape}].`,
      );
  }
  if (q.dtype !== kv.dtype)
    throw new TeError(
      "dtype",
      `MultiHeadAttention: inputsQ and inputsKv must have one dtype, got ${q.dtype} and ${kv.dtype}.`,
    );
}

function checkCache(fresh: Tensor, cached: Tensor, axis: number): void {
  const fits = fresh.shape.every((d, i) => (i === axis ? d <= cached.shape[i]! : d === cached.shape[i]));
  if (!fits || fresh.dtype !== cached.dtype) {
    throw new TeError(
      "shape",
      `MultiHeadAttention: new keys ${fresh.dtype}[${fresh.shape}] do not fit the cache ${cached.dtype}[${cached.shape}]. ` +
        "Call init with decode: true and inputs of the full length and this batch size.",
    );
  }
}
