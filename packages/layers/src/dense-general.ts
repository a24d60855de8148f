/** The module DenseGeneral: a product with a kernel over any axes, plain or in FP8, with adapter and bias. */
import { withShardingConstraintByLogicalAxes as constrain } from "@te/sharding";
import type { DType, Tensor } from "@te/tensor";
import { type Defaults, type WithDefaults, withDefaults } from "@te/tensor/op";
import {
  addBias,
  checkInput,
  checkParameterDType,
  contractedAxes,
  featureList,
  fp8Product,
  product,
  warnWideInput,
} from "./dense.js";
import { type Initializer, varianceScaling, zeros } from "./initializers.js";
import { adapter, checkLora, type LoraOptions, loraDefaults } from "./lora.js";
import { type Axes, Module } from "./module.js";

/** Options of {@link DenseGeneral}. */
export interface DenseGeneralOptions extends LoraOptions {
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
  /** Input axes to contract, in the order of the kernel's first axes. Default -1. */
  axis?: number | readonly number[];
  /** Dtype of the parameters: float32 (default), bfloat16 or float16. */
  dtype?: DType;
  /** Logical axes of the input, one per axis. Default []: none. */
  inputAxes?: Axes;
  /** Inputs are sequence-first; says only which logical axes apply. Default false. */
  transposeBatchSequence?: boolean;
  /** Name by which checkpoint policies know the FP8 operands. Default null: none. */
  quantizationCheckpointName?: string | null;
  /** Name among the parent's variables. */
  name?: string;
}

/**
 * A linear map: y = x · kernel (+ low-rank adapter) (+ bias), contracting `axis` of x. `call(x)` with x float32, bfloat16
 * or float16 gives the other axes of x in their order, then `features`, in the dtype of x.
 *
 * Parameters, in `dtype`: kernel [contracted..., features...], bias [features...], lora_a_kernel [contracted...,
 * features[:-1]..., r], lora_b_kernel [features[:-1]..., r, features[-1]]. Inside fp8Autocast the product runs in FP8 with
 * state in fp8_metas: x_scale, x_amax_history, and the same for kernel and grad. Adapters stay in the dtype of x.
 *
 * Throws TeError: "option" for features that are not positive, axes that x does not have or has twice, and logical axes
 * of another number than the value's; "dtype" for another input; "shape" for variables of another module.
 */
export class DenseGeneral extends Module {
  static override readonly name: string = "DenseGeneral";
  static readonly defaults = {
    features: undefined,
    kernelInit: varianceScaling(1, "fan_in", "truncated_normal"),
    kernelAxes: [],
    useBias: false,
    biasInit: zeros,
    biasAxes: [],
    ...loraDefaults,
    axis: -1,
    dtype: "float32",
    inputAxes: [],
    transposeBatchSequence: false,
    quantizationCheckpointName: null,
    name: undefined,
  } satisfies Defaults<DenseGeneralOptions>;

  private readonly options: WithDefaults<DenseGeneralOptions, typeof DenseGeneral.defaults>;
  private readonly features: readonly number[];
  protected override readonly callOptions = {};

  constructor(options: DenseGeneralOptions) {
    super(options);
    this.options = withDefaults("DenseGeneral", options, DenseGeneral.defaults);
    this.features = featureList("DenseGeneral", options.features);
    checkParameterDType("DenseGeneral", this.options.dtype);
    checkLora("DenseGeneral", this.options);
  }

  call(x: Tensor): Tensor {
    const { options, features } = this;
    const { dtype, kernelInit } = options;
    checkInput("DenseGeneral", x);
    const axes = contractedAxes("DenseGeneral", options.axis, x.rank);
    const shape = [...axes.map((a) => x.shape[a]!), ...features];
    const kernel = this.param("kernel", kernelInit, shape, { dtype, axes: options.kernelAxes });
    warnWideInput("DenseGeneral", x, kernel.dtype);
    const bias = options.useBias
      ? this.param("bias", options.biasInit, features, { dtype, axes: options.biasAxes })
      : undefined;
    const fp8 = fp8Product((...v) => this.variable(...v));
    const input = options.inputAxes.length ? constrain(x, options.inputAxes) : x;
    const contract = { lhsContract: axes, rhsContract: axes.map((_, i) => i) };
    let y = product(input, kernel, contract, fp8, { checkpointName: options.quantizationCheckpointName });
    if (options.enableLowRankAdaptation)
      y = y.add(adapter(this.parameters, "", kernelInit, input, axes, features, options));
    return bias ? addBias(y, bias) : y;
  }
}
