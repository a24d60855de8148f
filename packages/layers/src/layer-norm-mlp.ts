import { withShardingConstraintByLogicalAxes as constrain } from "@te/sharding";
import { checkpointName, type DType, fail, type Tensor } from "@te/tensor";
import { addBias, checkInput, fp8Product, product } from "./dense.js";
import { type ActivationParams, fp8NormMlp } from "./fp8-mlp.js";
import { fp8NormProduct } from "./fp8-norm.js";
import { chainSlices, type Initializer, ones, varianceScaling, zeros } from "./initializers.js";
import { applyNorm, type Norm } from "./layer-norm.js";
import { type LoraOptions, loraProduct, loraShapes } from "./lora.js";
import { type Axes, Module } from "./module.js";
import { type LayerNormType, parseNormType } from "./norm-type.js";
import { dropout } from "./ops/dropout.js";
import { activationNames, gatedActivationOp } from "./ops/gated-activation.js";

export interface LayerNormMLPOptions extends LoraOptions {
  /** Width between the two products. Default 2048. */
  intermediateDim?: number;
  /** Default true. */
  enableLayernorm?: boolean;
  layernormType?: LayerNormType;
  epsilon?: number;
  zeroCenteredGamma?: boolean;
  scaleInit?: Initializer;
  scaleAxes?: Axes;
  lnBiasInit?: Initializer;
  lnBiasAxes?: Axes;
  /** Of both kernels. Default varianceScaling(1, "fan_in", "truncated_normal"). */
  kernelInit?: Initializer;
  /** Default ["embed", "act", "mlp"]. */
  kernelAxes1?: Axes;
  /** Default ["mlp", "embed"]. */
  kernelAxes2?: Axes;
  /** Default false. */
  useBias?: boolean;
  biasInit?: Initializer;
  /** Default ["act", "mlp"]. */
  biasAxes1?: Axes;
  /** Default ["embed"]. */
  biasAxes2?: Axes;
  returnLayernormOutput?: boolean;
  /** One name per slice of the first product; the results are multiplied. Default ["gelu"]. */
  activations?: readonly string[];
  /** limit, alpha and gluLinearOffset of ["clamped_silu", "clamped_linear"]. */
  activationParams?: { limit?: number; alpha?: number; gluLinearOffset?: number } | null;
  intermediateDropoutRngName?: string;
  /** Dropout after the activation. Default 0. */
  intermediateDropoutRate?: number;
  intermediateHiddenDropoutDims?: readonly number[];
  /** Only -1. */
  axis?: number;
  dtype?: DType;
  transposeBatchSequence?: boolean;
  layernormInputAxes?: Axes | null;
  dot1InputAxes?: Axes | null;
  dot2InputAxes?: Axes | null;
  /** Checkpoint names of the two products' results. Default "ffn1" and "ffn2". */
  ffn1CkptName?: string;
  ffn2CkptName?: string;
  name?: string;
}

/**
 * A norm and a two-layer perceptron: out = activation(norm(x) · wi + wi_bias) · wo + wo_bias. `call(x, { deterministic })`
 * with x [..., H] gives [out [..., H], layernormOutput | undefined]. Parameters: scale, ln_bias [H], wi_kernel [H, A, F],
 * wo_kernel [F, H], wi_bias [A, F], wo_bias [H], adapters; A is the number of activations.
 */
export class LayerNormMLP extends Module {
  private readonly type: "layernorm" | "rmsnorm";
  private readonly activation: ActivationParams;

  constructor(private readonly options: LayerNormMLPOptions = {}) {
    super(options);
    this.type = parseNormType("LayerNormMLP", options.layernormType ?? "layernorm", options.zeroCenteredGamma ?? false);
    this.activation = parseActivations(options);
    if ((options.axis ?? -1) !== -1)
      fail("option", "LayerNormMLP", "axis must be -1", options.axis, "Transpose the input.");
  }

  call(
    x: Tensor,
    { deterministic = false }: { deterministic?: boolean } = {},
  ): [out: Tensor, layernormOutput: Tensor | undefined] {
    const { options, activation } = this;
    checkInput("LayerNormMLP", x);
    const {
      returnLayernormOutput = false,
      intermediateDropoutRate = 0,
      enableLowRankAdaptation = false,
      enableLayernorm = true,
    } = options;
    const names = [options.ffn1CkptName ?? "ffn1", options.ffn2CkptName ?? "ffn2"] as const;
    const hidden = x.shape.at(-1)!;
    const input = options.layernormInputAxes ? constrain(x, options.layernormInputAxes) : x;
    const { norm, wi, wo, wiBias, woBias } = this.parameters(hidden, enableLayernorm);
    const [first, second] = [0, 1].map((index) => fp8Product((...v) => this.variable(...v), index));
    const dropping = !deterministic && intermediateDropoutRate > 0;
    const fusesNorm = first !== undefined && norm !== undefined && !returnLayernormOutput && !enableLowRankAdaptation;
    if (fusesNorm && !dropping) {
      return [
        fp8NormMlp(input, { norm, wi, wo, wiBias, woBias, activation, products: [first, second!], names }),
        undefined,
      ];
    }
    const axes = { lhsContract: [x.rank - 1], rhsContract: [0] };
    let normalized: Tensor | undefined;
    let u: Tensor;
    if (fusesNorm) u = fp8NormProduct(input, norm, wi, first);
    else {
      normalized = norm ? applyNorm(input, norm) : input;
      const operand = options.dot1InputAxes ? constrain(normalized, options.dot1InputAxes) : normalized;
      u = product(operand, wi, axes, first);
      if (enableLowRankAdaptation) u = u.add(this.lora("wi", operand, [activation.activations.length, wi.shape[2]!]));
    }
    if (wiBias) u = addBias(u, wiBias);
    let h = gatedActivationOp({ u: checkpointName(u, names[0]) }, activation).y;
    if (dropping) h = this.drop(h, intermediateDropoutRate);
    if (options.dot2InputAxes) h = constrain(h, options.dot2InputAxes);
    let out = product(h, wo, axes, second);
    if (enableLowRankAdaptation) out = out.add(this.lora("wo", h, [hidden]));
    if (woBias) out = addBias(out, woBias);
    return [checkpointName(out, names[1]), returnLayernormOutput ? normalized : undefined];
  }

  /** In the order in which the original creates them, which decides their keys. */
  private parameters(hidden: number, enableLayernorm: boolean) {
    const o = this.options;
    const { dtype, biasInit = zeros, zeroCenteredGamma = false } = o;
    const width = o.intermediateDim ?? 2048;
    const count = this.activation.activations.length;
    const kernelInit = this.kernelInit();
    let norm: Norm | undefined;
    if (enableLayernorm) {
      const gamma = this.param("scale", o.scaleInit ?? (zeroCenteredGamma ? zeros : ones), [hidden], {
        dtype,
        axes: o.scaleAxes ?? ["embed"],
      });
      const beta =
        this.type === "layernorm"
          ? this.param("ln_bias", o.lnBiasInit ?? zeros, [hidden], { dtype, axes: o.lnBiasAxes ?? ["embed"] })
          : undefined;
      norm = { type: this.type, epsilon: o.epsilon ?? 1e-6, zeroCenteredGamma, gamma, beta };
    }
    const wi = this.param("wi_kernel", chainSlices(kernelInit), [hidden, count, width], {
      dtype,
      axes: o.kernelAxes1 ?? ["embed", "act", "mlp"],
    });
    const wo = this.param("wo_kernel", kernelInit, [width, hidden], { dtype, axes: o.kernelAxes2 ?? ["mlp", "embed"] });
    const bias = (name: string, shape: number[], axes: Axes) =>
      o.useBias ? this.param(name, biasInit, shape, { dtype, axes }) : undefined;
    const wiBias = bias("wi_bias", [count, width], o.biasAxes1 ?? ["act", "mlp"]);
    const woBias = bias("wo_bias", [hidden], o.biasAxes2 ?? ["embed"]);
    return { norm, wi, wo, wiBias, woBias };
  }

  private kernelInit(): Initializer {
    return this.options.kernelInit ?? varianceScaling(1, "fan_in", "truncated_normal");
  }

  private lora(which: "wi" | "wo", x: Tensor, features: number[]): Tensor {
    const { lowRankAdaptationDim = 32, lowRankAdaptationAlpha, dtype } = this.options;
    const shapes = loraShapes([x.shape.at(-1)!], features, lowRankAdaptationDim);
    const init = which === "wi" ? chainSlices(this.kernelInit()) : this.kernelInit();
    const a = this.param(`${which}_lora_a_kernel`, init, shapes.a, { dtype, axes: shapes.a.map(() => null) });
    const b = this.param(`${which}_lora_b_kernel`, zeros, shapes.b, { dtype, axes: shapes.b.map(() => null) });
    return loraProduct(x, a, b, [x.rank - 1], lowRankAdaptationAlpha);
  }

  private drop(h: Tensor, rate: number): Tensor {
    const { intermediateDropoutRngName = "dropout", intermediateHiddenDropoutDims = [] } = this.options;
    const broadcastDims = intermediateHiddenDropoutDims.map((d) => (d < 0 ? d + h.rank : d));
    return dropout(h, this.makeRng(intermediateDropoutRngName), { rate, broadcastDims });
  }
}

/** Lower-case names; a leading "linear" moves to the end, so that the other activation reads slice 0. */
function parseActivations({ activations = ["gelu"], activationParams }: LayerNormMLPOptions): ActivationParams {
  const fn = "LayerNormMLP";
  const names = activations.map((name) => {
    if (typeof name !== "string")
      fail("option", fn, "activations must be names", name, `Known: ${activationNames().join(", ")}.`);
    const lower = name.toLowerCase();
    if (!activationNames().includes(lower))
      fail("option", fn, `activations must be among ${activationNames().join(", ")}`, name);
    return lower;
  });
  if (names.length === 0) fail("option", fn, "activations must not be empty");
  if (names[0] === "linear" || names[0] === "clamped_linear") names.reverse();
  const { limit = 7, alpha = 1.702, gluLinearOffset = 1 } = activationParams ?? {};
  for (const key of Object.keys(activationParams ?? {})) {
    if (!["limit", "alpha", "gluLinearOffset"].includes(key))
      fail("option", fn, "activationParams may hold limit, alpha and gluLinearOffset", key);
  }
  return { activations: names, limit, alpha, offset: gluLinearOffset };
}
