/** A decoder-only character model: embedding, transformer layers with a causal mask, norm, and logits. */
import { fp8Autocast } from "@te/fp8";
import { DenseGeneral, Embed, LayerNorm, Module } from "@te/layers";
import { activeResourceAxis } from "@te/sharding";
import { checkpoint, type DType, type Tensor } from "@te/tensor";
import { TransformerLayer } from "@te/transformer";

export interface ModelConfig {
  readonly vocabulary: number;
  readonly layers: number;
  readonly hiddenSize: number;
  readonly mlpHiddenSize: number;
  readonly heads: number;
  /** Most characters that the model sees at once. */
  readonly sequence: number;
  /** Each layer computes its values again in the backward pass instead of keeping them: less memory, more time. */
  readonly checkpoint?: boolean;
}

/** The size of the demo. */
export const DEMO_MODEL = { layers: 4, hiddenSize: 256, mlpHiddenSize: 1024, heads: 8, sequence: 256 } as const;

/** A size that the reference backend trains in a minute or two. */
export const SMALL_MODEL = { layers: 2, hiddenSize: 48, mlpHiddenSize: 192, heads: 4, sequence: 32 } as const;

export interface CharModelCallOptions {
  /** ids are new characters only; keys and values of earlier ones are in the collection "cache". */
  readonly decode?: boolean;
}

/**
 * `call(ids)` with int32 [B, S] gives logits [B, S, vocabulary] in the dtype of the activations. Parameters are float32.
 * Submodules: embed, layers_0 …, norm, head. Inside fp8Autocast the layers multiply in FP8; the small product of the head
 * stays in the dtype of the activations.
 */
export class CharModel extends Module {
  private readonly embed: Embed;
  private readonly layers: readonly TransformerLayer[];
  private readonly norm: LayerNorm;
  private readonly head: DenseGeneral;

  constructor(
    readonly config: ModelConfig,
    /** Of the activations: float32 or bfloat16. */
    readonly dtype: DType,
  ) {
    super();
    const { vocabulary, hiddenSize, mlpHiddenSize, heads } = config;
    this.embed = new Embed({ numEmbeddings: vocabulary, features: hiddenSize, outputDtype: dtype });
    this.layers = Array.from(
      { length: config.layers },
      () =>
        new TransformerLayer({
          hiddenSize,
          mlpHiddenSize,
          numAttentionHeads: heads,
          mlpActivations: ["gelu"],
          selfAttnMaskType: "causal",
          enableRotaryPosEmb: true,
          enableRelativeEmbedding: false,
          hiddenDropout: 0,
          attentionDropout: 0,
          enableSequenceParallel: activeResourceAxis("tpspResource") !== null,
        }),
    );
    this.norm = new LayerNorm();
    this.head = new DenseGeneral({ features: vocabulary });
  }

  call(ids: Tensor, { decode = false }: CharModelCallOptions = {}): Tensor {
    let x = this.embed.call(ids);
    for (const layer of this.layers) {
      const apply = (x: Tensor): Tensor => layer.call(x, null, null, null, { decode, deterministic: true });
      x = (this.config.checkpoint ? checkpoint(apply) : apply)(x);
    }
    const normalized = this.norm.call(x);
    return fp8Autocast({ enabled: false }, () => this.head.call(normalized));
  }
}

/**
 * Floating-point operations that one token of training needs: two for each weight that it is multiplied with and, in
 * attention, for each key and each value up to its own position; the backward pass needs twice as much as the forward.
 *
 *     forward = layers · (2 (4 H² + 2 H M) + 4 H (S + 1) / 2) + 2 H V
 *
 * for q, k, v and output projections (4 H²), MLP (2 H M), q · k and p · v (4 H per key), and logits. Norms, activations,
 * softmax and the optimizer are not counted.
 */
export function trainingFlopsPerToken(config: ModelConfig): number {
  const { layers, hiddenSize: h, mlpHiddenSize: m, sequence, vocabulary } = config;
  const layer = 2 * (4 * h * h + 2 * h * m) + 4 * h * ((sequence + 1) / 2);
  return 3 * (layers * layer + 2 * h * vocabulary);
}
