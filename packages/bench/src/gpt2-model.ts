/** GPT-2 as benches run it: learned positions, transformer layers, and a head that shares its weights with the embedding. */
import type { ModelConfig } from "@te/example-char-lm";
import { FP8_COLLECTION_NAME, forwardDot, isFloat8Dtype, quantizeWith } from "@te/fp8";
import { LayerNorm, Module, varianceScaling } from "@te/layers";
import { arange, type DType, dot, ones, type Tensor, take } from "@te/tensor";
import { TransformerLayer } from "@te/transformer";

/** 124M parameters. `sequence` is that of the train step, of at most 1024 positions. */
export const GPT2: ModelConfig & { readonly positions: number } = {
  vocabulary: 50257,
  layers: 12,
  hiddenSize: 768,
  mlpHiddenSize: 3072,
  heads: 12,
  sequence: 64,
  positions: 1024,
};

const EPSILON = 1e-5;
const tableInit = varianceScaling(1, "fan_in", "normal", { outAxis: 0 });

/**
 * `call(ids)` with int32 [B, S] gives logits [B, S, vocabulary] in `dtype`; `call(ids, start)` decodes: ids are new tokens
 * from position `start`, int32 [], on, and the collection "cache" holds the keys and values of earlier ones. Parameters, in
 * `stored`: wte [vocabulary, hidden], wpe [positions, hidden], and those of layers_0 …, norm. wte may be in FP8, with
 * fp8_metas/wte_scale_inv float32 [1], and is then multiplied as it is.
 */
export class Gpt2 extends Module {
  private readonly layers: readonly TransformerLayer[];
  private readonly norm: LayerNorm;

  constructor(
    private readonly config: typeof GPT2,
    /** Of the activations. */
    private readonly dtype: DType,
    /** Of the parameters. */
    private readonly stored: DType = "float32",
  ) {
    super();
    const { hiddenSize, mlpHiddenSize, heads } = config;
    this.layers = Array.from(
      { length: config.layers },
      () =>
        new TransformerLayer({
          hiddenSize,
          mlpHiddenSize,
          numAttentionHeads: heads,
          layernormEpsilon: EPSILON,
          useBias: true,
          mlpActivations: ["gelu"],
          selfAttnMaskType: "causal",
          scaleAttnLogits: true,
          enableRelativeEmbedding: false,
          hiddenDropout: 0,
          attentionDropout: 0,
          intermediateDropout: 0,
          dtype: stored,
        }),
    );
    this.norm = new LayerNorm({ epsilon: EPSILON, dtype: stored });
  }

  call(ids: Tensor, start: Tensor | null = null): Tensor {
    const { vocabulary, positions, hiddenSize } = this.config;
    const { dtype, stored } = this;
    const table = (name: string, rows: number): Tensor =>
      this.param(name, tableInit, [rows, hiddenSize], { dtype: stored });
    const [wte, wpe] = [table("wte", vocabulary), table("wpe", positions)];
    const places = arange(ids.shape[1]!).add(start ?? 0);
    let x = this.rows(wte, ids)
      .add(take(wpe, places, { axis: 0 }))
      .astype(dtype);
    const options = { decode: start !== null, deterministic: true };
    for (const layer of this.layers) x = layer.call(x, null, null, null, options);
    return this.logits(this.norm.call(x), wte);
  }

  private rows(wte: Tensor, ids: Tensor): Tensor {
    const found = take(wte, ids, { axis: 0 });
    return isFloat8Dtype(wte.dtype) ? found.astype("float32").mul(this.scaleInv()) : found;
  }

  private logits(x: Tensor, wte: Tensor): Tensor {
    const axes = { lhsContract: [2], rhsContract: [1] };
    const { dtype } = this;
    if (!isFloat8Dtype(wte.dtype)) return dot(x, wte.astype(dtype), { ...axes, dtype });
    const scaled = quantizeWith(null, x, wte.dtype);
    return forwardDot(scaled, { q: wte, scaleInv: this.scaleInv() }, axes, { dtype });
  }

  private scaleInv(): Tensor {
    return this.variable(FP8_COLLECTION_NAME, "wte_scale_inv", () => ones([1])).value;
  }
}
