/** The module LayerNormDenseGeneral: a norm and the product after it, joined where a recipe allows it. */
import { withShardingConstraintByLogicalAxes as constrain } from "@te/sharding";
import type { DType, Tensor } from "@te/tensor";
import { type Defaults, fail, type WithDefaults, withDefaults } from "@te/tensor/op";
import {
  addBias,
  checkInput,
  checkLastAxis,
  checkParameterDType,
  featureList,
  fp8Product,
  product,
  warnWideInput,
} from "./dense.js";
import { type Initializer, varianceScaling, zeros } from "./initializers.js";
import { type InputNormOptions, inputNorm, inputNormDefaults } from "./input-norm.js";
import { applyNorm, checkNorm, type Norm } from "./layer-norm.js";
import { adapter, checkLora, type LoraOptions, loraDefaults } from "./lora.js";
import { type Axes, Module } from "./module.js";

/** Options of {@link LayerNormDenseGeneral}. */
export interface LayerNormDenseGeneralOptions extends InputNormOptions, LoraOptions {
  /** Output feature sizes. Required. */
  features: number | readonly number[];
  /** Default varianceScaling(1, "fan_in", "truncated_normal"). */
  kernelInit?: Initializer;
  /** Logical axes of the kernel, one per axis. Default []: none. */
  kernelAxes?: Axes;
  /** Default false. */
  useBias?: boolean;
  /** Default zeros. */
  biasInit?: Initializer;
  /** Logical axes of the bias, one per axis. Default []: none. */
  biasAxes?: Axes;
  /** Must be -1 (default). */
  axis?: -1;
  /** Dtype of the parameters: float32 (default), bfloat16 or float16. */
  dtype?: DType;
  /** Inputs are sequence-first; says only which logical axes apply. Default false. */
  transposeBatchSequence?: boolean;
  /** Logical axes of the product's input, one per axis. Default null: no constraint. */
  dotInputAxes?: Axes | null;
  /** Divide the result by this number. Default null: do not. */
  depthScaling?: number | null;
  /** Name by which checkpoint policies know the FP8 operands. Default null: none. */
  quantizationCheckpointName?: string | null;
  /** Name among the parent's variables. */
  name?: string;
}

/**
 * A norm and a linear map: y = norm(x) · kernel (+ adapter) (+ bias) (/ depthScaling). `call(x)` with x [..., H], float32,
 * bfloat16 or float16, gives [y [..., features...], layernormOutput [..., H] | undefined] in the dtype of x. Without the
 * norm layernormOutput is x.
 *
 * Parameters, in `dtype`: scale, ln_bias [H], kernel [H, features...], bias [features...], lora_a_kernel and lora_b_kernel
 * as in DenseGeneral, and its fp8_metas. Inside fp8Autocast, where the recipe rounds from float32, the norm writes FP8
 * directly, unless its output is asked for or an adapter, which reads the norm's output, needs it.
 *
 * Throws TeError as LayerNorm and DenseGeneral do, and "option" for an axis other than -1 or a depthScaling of 0.
 */
export class LayerNormDenseGeneral extends Module {
  static override readonly name: string = "LayerNormDenseGeneral";
  static readonly defaults = {
    features: undefined,
    ...inputNormDefaults,
    kernelInit: varianceScaling(1, "fan_in", "truncated_normal"),
    kernelAxes: [],
    useBias: false,
    biasInit: zeros,
    biasAxes: [],
    ...loraDefaults,
    axis: -1,
    dtype: "float32",
    transposeBatchSequence: false,
    dotInputAxes: null,
    depthScaling: null,
    quantizationCheckpointName: null,
    name: undefined,
  } satisfies Defaults<LayerNormDenseGeneralOptions>;

  private readonly options: WithDefaults<LayerNormDenseGeneralOptions, typeof LayerNormDenseGeneral.defaults>;
  private readonly type: Norm["type"];
  private readonly features: readonly number[];
  protected override readonly callOptions = {};

  constructor(options: LayerNormDenseGeneralOptions) {
    super(options);
    const fn = "LayerNormDenseGeneral";
    this.options = withDefaults(fn, options, LayerNormDenseGeneral.defaults);
    this.type = checkNorm(fn, this.options);
    this.features = featureList(fn, options.features);
    checkLastAxis(fn, this.options.axis, "Use LayerNorm and DenseGeneral.");
    checkParameterDType(fn, this.options.dtype);
    checkLora(fn, this.options);
    const { depthScaling } = this.options;
    if (depthScaling !== null && !(Number.isFinite(depthScaling) && depthScaling !== 0))
      fail("option", fn, "depthScaling must be a finite number other than 0, or null", depthScaling);
  }

  call(x: Tensor): [y: Tensor, layernormOutput: Tensor | undefined] {
    const { options, features } = this;
    const { dtype, kernelInit, dotInputAxes, returnLayernormOutput, enableLowRankAdaptation } = options;
    checkInput("LayerNormDenseGeneral", x);
    const hidden = x.shape.at(-1)!;
    const input = options.layernormInputAxes ? constrain(x, options.layernormInputAxes) : x;
    const norm = inputNorm(this.parameters, this.type, hidden, options);
    const kernel = this.param("kernel", kernelInit, [hidden, ...features], { dtype, axes: options.kernelAxes });
    warnWideInput("LayerNormDenseGeneral", x, kernel.dtype);
    const fp8 = fp8Product((...v) => this.variable(...v));
    const wide = fp8?.recipe.fromFloat32 && !returnLayernormOutput && !enableLowRankAdaptation;
    const normalized = norm ? applyNorm(input, norm, wide) : input;
    const operand = dotInputAxes ? constrain(normalized, dotInputAxes) : normalized;
    const axes = [x.rank - 1];
    const checkpointName = options.quantizationCheckpointName;
    let y = product(operand, kernel, { lhsContract: axes, rhsContract: [0] }, fp8, { dtype: x.dtype, checkpointName });
    if (enableLowRankAdaptation) y = y.add(adapter(this.parameters, "", kernelInit, operand, axes, features, options));
    if (options.useBias)
      y = addBias(y, this.param("bias", options.biasInit, features, { dtype, axes: options.biasAxes }));
    if (options.depthScaling !== null) y = y.div(options.depthScaling);
    return [y, returnLayernormOutput ? normalized : undefined];
  }
}
