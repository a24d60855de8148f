import { withShardingConstraintByLogicalAxes as constrain } from "@te/sharding";
import { type DType, fail, type Tensor } from "@te/tensor";
import { addBias, checkInput, featureList, fp8Product, product } from "./dense.js";
import { fp8NormProduct } from "./fp8-norm.js";
import { type Initializer, ones, varianceScaling, zeros } from "./initializers.js";
import { applyNorm, type Norm } from "./layer-norm.js";
import { type LoraOptions, loraProduct, loraShapes } from "./lora.js";
import { type Axes, Module } from "./module.js";
import { type LayerNormType, parseNormType } from "./norm-type.js";

export interface LayerNormDenseGeneralOptions extends LoraOptions {
  features: number | readonly number[];
  /** Default true; false leaves the dense product alone. */
  enableLayernorm?: boolean;
  layernormType?: LayerNormType;
  epsilon?: number;
  zeroCenteredGamma?: boolean;
  scaleInit?: Initializer;
  scaleAxes?: Axes;
  lnBiasInit?: Initializer;
  lnBiasAxes?: Axes;
  /** Default varianceScaling(1, "fan_in", "truncated_normal"). */
  kernelInit?: Initializer;
  kernelAxes?: Axes;
  /** Default false. */
  useBias?: boolean;
  biasInit?: Initializer;
  biasAxes?: Axes;
  /** Also return the norm's output. Default false; in FP8 the norm then writes high precision. */
  returnLayernormOutput?: boolean;
  /** Only -1. */
  axis?: number;
  dtype?: DType;
  transposeBatchSequence?: boolean;
  /** Logical axes of the norm's input. */
  layernormInputAxes?: Axes | null;
  /** Logical axes of the product's input. */
  dotInputAxes?: Axes | null;
  /** Divide the result by this number. */
  depthScaling?: number | null;
  name?: string;
}

/**
 * A norm and a linear map: y = norm(x) · kernel (+ adapter) (+ bias) (/ depthScaling). `call(x)` with x [..., H] gives [y
 * [..., features...], layernormOutput | undefined]. Parameters: scale, ln_bias [H], kernel [H, features...], bias
 * [features...]. Inside fp8Autocast the norm writes FP8 directly, unless its output is asked for or an adapter needs it.
 */
export class LayerNormDenseGeneral extends Module {
  private readonly type: "layernorm" | "rmsnorm";

  constructor(private readonly options: LayerNormDenseGeneralOptions) {
    super(options);
    this.type = parseNormType(
      "LayerNormDenseGeneral",
      options.layernormType ?? "layernorm",
      options.zeroCenteredGamma ?? false,
    );
    if ((options.axis ?? -1) !== -1)
      fail("option", "LayerNormDenseGeneral", "axis must be -1", options.axis, "Use LayerNorm and DenseGeneral.");
    if (options.depthScaling === 0) fail("option", "LayerNormDenseGeneral", "depthScaling must not be 0");
  }

  call(x: Tensor): [y: Tensor, layernormOutput: Tensor | undefined] {
    const { options } = this;
    const {
      enableLayernorm = true,
      returnLayernormOutput = false,
      enableLowRankAdaptation = false,
      layernormInputAxes,
      dotInputAxes,
    } = options;
    checkInput("LayerNormDenseGeneral", x);
    const features = featureList("LayerNormDenseGeneral", options.features);
    const hidden = x.shape.at(-1)!;
    const input = layernormInputAxes ? constrain(x, layernormInputAxes) : x;
    const norm = enableLayernorm ? this.norm(hidden) : undefined;
    const kernelInit = options.kernelInit ?? varianceScaling(1, "fan_in", "truncated_normal");
    const kernel = this.param("kernel", kernelInit, [hidden, ...features], {
      dtype: options.dtype,
      axes: options.kernelAxes,
    });
    const fp8 = fp8Product((...v) => this.variable(...v));
    let y: Tensor;
    let normalized: Tensor | undefined;
    if (fp8 && norm && !returnLayernormOutput && !enableLowRankAdaptation) {
      y = fp8NormProduct(input, norm, kernel, fp8);
    } else {
      normalized = norm ? applyNorm(input, norm) : input;
      const operand = dotInputAxes ? constrain(normalized, dotInputAxes) : normalized;
      y = product(operand, kernel, { lhsContract: [x.rank - 1], rhsContract: [0] }, fp8);
      if (enableLowRankAdaptation) y = y.add(this.lora(operand, kernelInit, features));
    }
    if (options.useBias)
      y = addBias(
        y,
        this.param("bias", options.biasInit ?? zeros, features, { dtype: options.dtype, axes: options.biasAxes }),
      );
    if (options.depthScaling) y = y.div(options.depthScaling);
    return [y, returnLayernormOutput ? normalized : undefined];
  }

  private norm(hidden: number): Norm {
    const {
      epsilon = 1e-6,
      zeroCenteredGamma = false,
      scaleInit,
      scaleAxes = ["embed"],
      lnBiasInit = zeros,
      lnBiasAxes = ["embed"],
      dtype,
    } = this.options;
    const gamma = this.param("scale", scaleInit ?? (zeroCenteredGamma ? zeros : ones), [hidden], {
      dtype,
      axes: scaleAxes,
    });
    const beta =
      this.type === "layernorm" ? this.param("ln_bias", lnBiasInit, [hidden], { dtype, axes: lnBiasAxes }) : undefined;
    return { type: this.type, epsilon, zeroCenteredGamma, gamma, beta };
  }

  private lora(x: Tensor, kernelInit: Initializer, features: number[]): Tensor {
    const { lowRankAdaptationDim = 32, lowRankAdaptationAlpha, dtype } = this.options;
    const shapes = loraShapes([x.shape.at(-1)!], features, lowRankAdaptationDim);
    const a = this.param("lora_a_kernel", kernelInit, shapes.a, { dtype, axes: shapes.a.map(() => null) });
    const b = this.param("lora_b_kernel", zeros, shapes.b, { dtype, axes: shapes.b.map(() => null) });
    return loraProduct(x, a, b, [x.rank - 1], lowRankAdaptationAlpha);
  }
}
