/** The module MultiHeadAttention: attention between its projections, with a cache of keys and values in decoding. */
import { Module, warnWideInput } from "@te/layers";
import {
  BATCH_AXES,
  withShardingConstraintByLogicalAxes as constrain,
  HEAD_AXES,
  HIDDEN_AXES,
  HIDDEN_TP_AXES,
  JOINED_AXES,
} from "@te/sharding";
import { arange, type Tensor, zeros } from "@te/tensor";
import { expectTensor, fail } from "@te/tensor/op";
import { checkAttentionBlock } from "./attention-block-options.js";
import {
  checkAttentionDropout,
  checkHeadDim,
  parseBiasType,
  parseHeads,
  parseMaskType,
  parseRopeMethod,
  type RopeMethod,
} from "./attention-options.js";
import { contextAxis, contextPositions, sequenceAxes } from "./context-parallel.js";
import { DotProductAttention } from "./dot-product-attention.js";
import { CACHE_NAMES, expectCache, extendCache, type KvCache, sequencesFrom, startOf } from "./kv-cache.js";
import { parseLoraScope } from "./lora-scope.js";
import {
  type MultiHeadAttentionOptions,
  multiHeadAttentionDefaults,
  type ResolvedOptions,
  resolveOptions,
} from "./multi-head-attention-options.js";
import { rope } from "./ops/rope.js";
import { axesOf, type Projected, Projections, unpack } from "./projections.js";
import type { SequenceDescriptor } from "./sequence-descriptor.js";
import { readMask } from "./unread-arguments.js";

const FN = "MultiHeadAttention";

/** Options of a call of {@link MultiHeadAttention}. */
export interface MultiHeadAttentionCallOptions {
  /** No dropout. Default false. */
  deterministic?: boolean;
  /** Read and extend the KV cache (collection "cache"); inputs are the new tokens only, any number of them. Default false. */
  decode?: boolean;
}

/**
 * Attention with its projections. `call(inputsQ, inputsKv, mask?, bias?, { deterministic, decode })` with inputsQ [B, Sq, H]
 * and inputsKv [B, Skv, Hkv] (sequence before batch with transposeBatchSequence) of one float dtype gives [out,
 * layernormOutput | undefined]; out is like inputsQ. Passing the same tensor twice is self-attention. The norm's output is
 * there when returnLayernormOutput asks for it, and whenever query is a projection of its own that k and v share the norm
 * with. mask and bias are those of DotProductAttention.
 *
 * Submodules: qkv, or query and kv, or query, key and value; and out. Collection cache (decode): cached_key, cached_value
 * [B, L, groups, headDim], cache_index int32, where L is the length at init. In decoding a new token sees the cache up to
 * itself, whatever the mask type; with a padding type a mask [B, 1, newTokens, L], or a SequenceDescriptor of new tokens and
 * L keys, may hide more of it. A bias is [1|B, 1|h, newTokens or L, L].
 *
 * Throws TeError as DotProductAttention and the dense layers do; "shape" for new tokens that do not fit the cache, "state"
 * for a cache that init did not make. Tokens past L are an error of code "index", which surfaces where a result is read. A
 * mask that attnMaskType does not read is said once on stderr.
 */
export class MultiHeadAttention extends Module {
  static override readonly name: string = "MultiHeadAttention";
  static readonly defaults = { ...multiHeadAttentionDefaults };

  readonly headDim: number;
  readonly numAttentionHeads: number;
  readonly numGqaGroups: number;
  /** @internal Position of the first query, int32: that of a decoder's new tokens in its cross-attention. */
  queryStart: Tensor | undefined;
  private readonly options: ResolvedOptions;
  private readonly sequenceFirst: boolean;
  private readonly ropeMethod: RopeMethod;
  private readonly projections: Projections;
  protected override readonly callOptions = { deterministic: false, decode: false };

  constructor(options: MultiHeadAttentionOptions) {
    super(options);
    const fn = FN;
    this.options = resolveOptions(fn, options);
    const { numAttentionHeads, numGqaGroups, headDim } = this.options;
    [this.numAttentionHeads, this.numGqaGroups] = parseHeads(fn, numAttentionHeads, numGqaGroups);
    checkHeadDim(fn, headDim);
    this.headDim = headDim;
    checkAttentionBlock(fn, this.options);
    checkAttentionDropout(fn, this.options.attentionDropout);
    parseMaskType(fn, this.options.attnMaskType);
    parseBiasType(fn, this.options.attnBiasType);
    this.sequenceFirst = this.options.transposeBatchSequence;
    this.ropeMethod = parseRopeMethod(fn, this.options.rotaryPosEmbGroupMethod);
    const scope = parseLoraScope(fn, this.options.lowRankAdaptationScope);
    this.projections = new Projections(this.options, this.numAttentionHeads, this.numGqaGroups, scope);
  }

  override get optionsPosition(): number {
    return 4;
  }

  call(
    inputsQ: Tensor,
    inputsKv: Tensor,
    mask?: Tensor | SequenceDescriptor | null,
    bias?: Tensor | null,
    { deterministic = false, decode = false }: MultiHeadAttentionCallOptions = {},
  ): [out: Tensor, layernormOutput: Tensor | undefined] {
    checkInputs(inputsQ, inputsKv);
    warnWideInput(FN, inputsQ, this.options.dtype);
    const { enableRotaryPosEmb, attnMaskType } = this.options;
    const hidden = readMask(FN, { argument: ["mask", mask], option: ["attnMaskType", attnMaskType] });
    const cache = decode && !this.initializing ? this.openCache(inputsQ, inputsKv) : undefined;
    const start = cache && startOf(cache, inputsQ.shape[this.sequenceAxis]!);
    const query = this.constrainInput(inputsQ);
    const isSelf = inputsQ === inputsKv;
    let projected = this.projections.project(query, isSelf ? query : inputsKv, isSelf);
    const isApart = contextAxis(this.options) !== undefined && projected.layout === "bs3hd";
    if (decode || isApart || (enableRotaryPosEmb && this.queryStart)) projected = unpack(projected);
    if (enableRotaryPosEmb) projected = this.rotate(projected, start);
    const { q, k, v, layout, normalized } = this.constrainHeads(projected);
    if (decode && !cache) this.makeCache(k!, v!);
    const context = cache
      ? this.attendToCache(cache, start!, { q, k: k!, v: v! }, hidden, bias, deterministic)
      : decode // init, of which only shapes matter
        ? this.attention(layout, "causal").call(q, k, v, null, bias, { deterministic })
        : this.attention(layout).call(q, k, v, this.shifted(hidden, q, k), bias, { deterministic });
    const joined = context.reshape([...context.shape.slice(0, 2), this.numAttentionHeads * this.headDim]);
    const out = this.projections.output(
      constrain(joined, this.axes(BATCH_AXES, sequenceAxes(this.options).inside, HIDDEN_TP_AXES)),
      inputsQ.shape.at(-1)!,
    );
    return [out, normalized];
  }

  private get sequenceAxis(): 0 | 1 {
    return this.sequenceFirst ? 0 : 1;
  }

  private axes(...batchFirst: [string, string, ...string[]]): string[] {
    return axesOf(this.sequenceFirst, ...batchFirst);
  }

  private constrainInput(x: Tensor): Tensor {
    return constrain(x, this.axes(BATCH_AXES, sequenceAxes(this.options).between, HIDDEN_AXES));
  }

  private constrainHeads(p: Projected): Projected {
    const { inside } = sequenceAxes(this.options);
    const separate = this.axes(BATCH_AXES, inside, HEAD_AXES, HIDDEN_AXES);
    const packed = this.axes(BATCH_AXES, inside, JOINED_AXES, HEAD_AXES, HIDDEN_AXES);
    const fit = (t: Tensor | undefined) => t && constrain(t, t.rank === 5 ? packed : separate);
    return { ...p, q: fit(p.q)!, k: fit(p.k), v: fit(p.v) };
  }

  /** With queries that do not start at 0, a mask that says where they are, for windows. */
  private shifted(mask: Tensor | SequenceDescriptor | undefined, q: Tensor, k: Tensor | undefined) {
    if (!this.queryStart || !this.options.windowSize) return mask;
    const [batch, sequence] = this.sequenceFirst ? [1, 0] : [0, 1];
    const [queries, keys] = [q.shape[sequence]!, (k ?? q).shape[sequence]!];
    return sequencesFrom(this.queryStart, { batch: q.shape[batch]!, queries, keys }, mask);
  }

  /** Turns q and k by their positions in the row, which in decoding start at the cache's index. Reordered tokens keep theirs. */
  private rotate(p: Projected, start: Tensor | undefined): Projected {
    const [windowMin, windowMax] = this.options.rotaryPosEmbWindows;
    const options = { method: this.ropeMethod, windowMin, windowMax, sequenceAxis: this.sequenceAxis };
    const turn = (x: Tensor, slots: number, start: Tensor | undefined): Tensor => {
      const length = x.shape[options.sequenceAxis]!;
      const positions = start ? arange(length).add(start) : contextPositions(FN, this.options, length);
      return rope(x, { ...options, slots, ...(positions && { positions }) });
    };
    const q = turn(p.q, p.layout === "bs3hd" ? 2 : 0, start ?? this.queryStart);
    return { ...p, q, k: p.k && turn(p.k, p.layout === "bshd_bs2hd" ? 1 : 0, start) };
  }

  private attention(qkvLayout: Projected["layout"], maskType?: string): DotProductAttention {
    const { options } = this;
    return new DotProductAttention({
      headDim: this.headDim,
      numAttentionHeads: this.numAttentionHeads,
      numGqaGroups: this.numGqaGroups,
      attnMaskType: maskType ?? options.attnMaskType,
      attnBiasType: options.attnBiasType,
      attentionDropout: options.attentionDropout,
      dropoutRngName: options.dropoutRngName,
      float32Logits: options.float32Logits,
      qkvLayout,
      scaleFactor: options.scaleAttnLogits ? 1 / Math.sqrt(this.headDim) : 1,
      transposeBatchSequence: this.sequenceFirst,
      windowSize: options.windowSize,
      softmaxType: options.softmaxType,
      contextParallelCausalLoadBalanced: options.contextParallelCausalLoadBalanced,
      contextParallelAxis: options.contextParallelAxis,
      contextParallelStrategy: options.contextParallelStrategy,
    });
  }

  /** Room for keys and values of the length of these. */
  private makeCache(k: Tensor, v: Tensor): void {
    const room = (t: Tensor) => () => zeros(t.shape, { dtype: t.dtype });
    this.variable("cache", "cache_index", () => zeros([], { dtype: "int32" }));
    this.variable("cache", "cached_key", room(k));
    this.variable("cache", "cached_value", room(v));
  }

  /** The cache that init made. */
  private openCache(inputsQ: Tensor, inputsKv: Tensor): KvCache {
    const axis = this.sequenceAxis;
    if (inputsQ.shape[axis] !== inputsKv.shape[axis]) {
      const rule = "decode takes inputsQ and inputsKv of the same new tokens";
      fail("shape", FN, rule, [inputsQ, inputsKv], "Pass one tensor twice.");
    }
    expectCache((name) => this.hasVariable("cache", name));
    const [keys, values, index] = CACHE_NAMES.map((name) => this.variable("cache", name, () => zeros([])));
    return { keys: keys!, values: values!, index: index!, axis };
  }

  private attendToCache(
    cache: KvCache,
    start: Tensor,
    fresh: { readonly q: Tensor; readonly k: Tensor; readonly v: Tensor },
    mask: Tensor | SequenceDescriptor | undefined,
    bias: Tensor | null | undefined,
    deterministic: boolean,
  ): Tensor {
    const cached = extendCache(cache, start, fresh, mask, bias);
    const attention = this.attention("bshd_bshd_bshd", "padding_causal");
    return attention.call(fresh.q, cached.keys, cached.values, cached.sequences, cached.bias, { deterministic });
  }
}

function checkInputs(q: Tensor, kv: Tensor): void {
  const fn = FN;
  const inputs = { inputsQ: q, inputsKv: kv };
  expectTensor(fn, inputs);
  for (const [name, x] of Object.entries(inputs)) {
    if (x.rank !== 3) fail("shape", fn, `${name} must have 3 axes (batch, sequence, hidden)`, x);
  }
  if (q.dtype !== kv.dtype) fail("dtype", fn, "inputsQ and inputsKv must have one dtype", `${q.dtype} and ${kv.dtype}`);
}
