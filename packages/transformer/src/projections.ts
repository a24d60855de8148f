/** The products around attention: queries, keys and values from the inputs, and the result from the heads. */
import { DenseGeneral, type Initializer, LayerNormDenseGeneral, stackSlices } from "@te/layers";
import { BATCH_AXES, HIDDEN_AXES, W_FSDP_AXES, W_JOINED_AXES, W_NO_SHARD_AXES, W_TP_AXES } from "@te/sharding";
import { checkpointName, full, type Tensor } from "@te/tensor";
import { sequenceAxes } from "./context-parallel.js";
import { type LoraScope, loraUses } from "./lora-scope.js";
import type { ResolvedOptions } from "./multi-head-attention-options.js";

/** Queries, keys and values in a layout that attention takes, and the norm's output where there is one. */
export interface Projected {
  readonly q: Tensor;
  readonly k: Tensor | undefined;
  readonly v: Tensor | undefined;
  readonly layout: "bs3hd" | "bshd_bs2hd" | "bshd_bshd_bshd";
  readonly normalized: Tensor | undefined;
}

const COLUMN = { kernelAxes: [W_FSDP_AXES, W_TP_AXES], biasAxes: [W_TP_AXES] };
const PACKED = { kernelAxes: [W_FSDP_AXES, W_JOINED_AXES, W_TP_AXES], biasAxes: [W_JOINED_AXES, W_TP_AXES] };
const ROW = { kernelAxes: [W_TP_AXES, W_FSDP_AXES], biasAxes: [W_NO_SHARD_AXES] };

/** Names of axes given batch-first, in the order of the inputs. */
export function axesOf(sequenceFirst: boolean, ...[batch, sequence, ...rest]: [string, string, ...string[]]): string[] {
  return sequenceFirst ? [sequence, batch, ...rest] : [batch, sequence, ...rest];
}

/**
 * x / √n with the bits of the original, where the root and its reciprocal are rounded to the dtype before they multiply x;
 * bfloat16 is divided in float32 and rounded once.
 */
function dividedByRoot(x: Tensor, n: number): Tensor {
  const { dtype } = x;
  const root = full([], Math.sqrt(n), { dtype });
  return dtype === "bfloat16" ? x.div(root) : x.mul(full([], 1, { dtype }).div(root));
}

/** Makes the submodules of one attention layer. Their variables are those of the module that is running. */
export class Projections {
  constructor(
    private readonly options: ResolvedOptions,
    private readonly heads: number,
    private readonly groups: number,
    private readonly scope: LoraScope,
  ) {}

  /** Submodules qkv; or query and kv; or query, key and value. Keys and values of self-attention read the norm's output. */
  project(inputsQ: Tensor, inputsKv: Tensor, isSelf: boolean): Projected {
    const { options, heads, groups } = this;
    const { headDim: d, fuseQkvParams: fuse, kernelInit: init, returnLayernormOutput } = options;
    const split = (x: Tensor, ...tail: number[]): Tensor => x.reshape([...x.shape.slice(0, 2), ...tail]);
    if (fuse && isSelf && heads === groups) {
      const kernelInit = stackSlices([this.queryInit(), init, init]);
      const module = this.normalizedDense("qkv", [3, heads * d], kernelInit, PACKED, returnLayernormOutput);
      const [qkv, normalized] = module.call(inputsQ);
      const q = split(checkpointName(qkv, "combined_qkv_proj"), 3, heads, d);
      return { q, k: undefined, v: undefined, layout: "bs3hd", normalized };
    }
    // The original hands the norm's output out wherever it has it; so does this.
    const needed = isSelf || !fuse || returnLayernormOutput;
    const [q, normalized] = this.normalizedDense("query", heads * d, this.queryInit(), COLUMN, needed).call(inputsQ);
    const source = isSelf ? normalized! : inputsKv;
    if (fuse) {
      const kv = this.dense("kv", [2, groups * d], stackSlices([init, init]), PACKED).call(source);
      const k = split(checkpointName(kv, "combined_kv_proj"), 2, groups, d);
      return { q: split(q, heads, d), k, v: undefined, layout: "bshd_bs2hd", normalized };
    }
    const k = this.dense("key", groups * d, init, COLUMN).call(source);
    const v = this.dense("value", groups * d, init, COLUMN).call(source);
    return {
      q: split(checkpointName(q, "query_proj"), heads, d),
      k: split(checkpointName(k, "key_proj"), groups, d),
      v: split(checkpointName(v, "value_proj"), groups, d),
      layout: "bshd_bshd_bshd",
      normalized,
    };
  }

  /** Submodule out: [.., heads * headDim] → [.., features]. */
  output(joined: Tensor, features: number): Tensor {
    const { kernelInit } = this.options;
    const module = new DenseGeneral({ ...this.common("output_proj"), ...ROW, name: "out", features, kernelInit });
    return checkpointName(module.call(joined), "out_proj");
  }

  /** The query kernel's initial values, divided by sqrt(headDim) unless scaledQueryInit is off. */
  private queryInit(): Initializer {
    const { kernelInit, scaledQueryInit, headDim } = this.options;
    if (!scaledQueryInit) return kernelInit;
    return (key, shape, dtype) => dividedByRoot(kernelInit(key, shape, dtype), headDim);
  }

  private common(part: "qkv_proj" | "output_proj") {
    const { useBias, biasInit, dtype, transposeBatchSequence } = this.options;
    const { lowRankAdaptationDim, lowRankAdaptationAlpha } = this.options;
    const enableLowRankAdaptation = loraUses(this.scope, part);
    const lora = { enableLowRankAdaptation, lowRankAdaptationDim, lowRankAdaptationAlpha };
    return { useBias, biasInit, dtype, transposeBatchSequence, ...lora };
  }

  private normalizedDense(
    name: string,
    features: number | readonly number[],
    kernelInit: Initializer,
    axes: typeof COLUMN,
    returnLayernormOutput: boolean,
  ): LayerNormDenseGeneral {
    const { inputLayernorm, layernormType, layernormEpsilon, zeroCenteredGamma } = this.options;
    const { transposeBatchSequence: sequenceFirst } = this.options;
    const sequence = sequenceAxes(this.options);
    return new LayerNormDenseGeneral({
      ...this.common("qkv_proj"),
      ...axes,
      name,
      features,
      kernelInit,
      returnLayernormOutput,
      enableLayernorm: inputLayernorm,
      layernormType,
      epsilon: layernormEpsilon,
      zeroCenteredGamma,
      scaleAxes: [W_NO_SHARD_AXES],
      lnBiasAxes: [W_NO_SHARD_AXES],
      layernormInputAxes: axesOf(sequenceFirst, BATCH_AXES, sequence.between, HIDDEN_AXES),
      dotInputAxes: axesOf(sequenceFirst, BATCH_AXES, sequence.inside, HIDDEN_AXES),
    });
  }

  private dense(name: string, features: number | readonly number[], kernelInit: Initializer, axes: typeof COLUMN) {
    return new DenseGeneral({ ...this.common("qkv_proj"), ...axes, name, features, kernelInit });
  }
}

/** Separate q, k and v, whatever they were. */
export function unpack(p: Projected): Projected {
  const slot = (t: Tensor, i: number): Tensor => t.at(":", ":", i);
  const layout = "bshd_bshd_bshd";
  if (p.layout === "bs3hd") return { ...p, q: slot(p.q, 0), k: slot(p.q, 1), v: slot(p.q, 2), layout };
  if (p.layout === "bshd_bs2hd") return { ...p, k: slot(p.k!, 0), v: slot(p.k!, 1), layout };
  return p;
}
