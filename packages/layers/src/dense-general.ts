import { withShardingConstraintByLogicalAxes as constrain } from "@te/sharding";
import type { DType, Tensor } from "@te/tensor";
import { addBias, checkInput, contractedAxes, featureList, fp8Product, product } from "./dense.js";
import { type Initializer, varianceScaling, zeros } from "./initializers.js";
import { type LoraOptions, loraProduct, loraShapes } from "./lora.js";
import { type Axes, Module } from "./module.js";

export interface DenseGeneralOptions extends LoraOptions {
  /** Output feature sizes. */
  features: number | readonly number[];
  /** Default varianceScaling(1, "fan_in", "truncated_normal"). */
  kernelInit?: Initializer;
  /** Logical axes of the kernel; one per axis when given. */
  kernelAxes?: Axes;
  /** Default false. */
  useBias?: boolean;
  /** Default zeros. */
  biasInit?: Initializer;
  biasAxes?: Axes;
  /** Input axes to contract. Default -1. */
  axis?: number | readonly number[];
  /** Dtype of the parameters. Default float32. */
  dtype?: DType;
  /** Logical axes of the input. */
  inputAxes?: Axes;
  /** Inputs are sequence-first; says only which logical axes apply. */
  transposeBatchSequence?: boolean;
  name?: string;
}

/**
 * A linear map: y = x · kernel (+ low-rank adapter) (+ bias), contracting `axis` of x. The result has the other axes of x,
 * then `features`, in the dtype of x. Parameters: kernel [contracted..., features...], bias [features...],
 * lora_a_kernel, lora_b_kernel. Inside fp8Autocast the product runs in FP8 with state in fp8_metas.
 */
export class DenseGeneral extends Module {
  constructor(private readonly options: DenseGeneralOptions) {
    super(options);
  }

  call(x: Tensor): Tensor {
    const { options } = this;
    checkInput("DenseGeneral", x);
    const { kernelAxes = [], biasAxes = [], useBias = false, biasInit = zeros, dtype, inputAxes = [] } = options;
    const features = featureList("DenseGeneral", options.features);
    const axes = contractedAxes("DenseGeneral", options.axis ?? -1, x.rank);
    const inputs = axes.map((a) => x.shape[a]!);
    const shape = [...inputs, ...features];
    const kernelInit = options.kernelInit ?? varianceScaling(1, "fan_in", "truncated_normal");
    const kernel = this.param("kernel", kernelInit, shape, { dtype, axes: kernelAxes });
    const bias = useBias ? this.param("bias", biasInit, features, { dtype, axes: biasAxes }) : undefined;
    const input = inputAxes.length ? constrain(x, inputAxes) : x;
    const contract = { lhsContract: axes, rhsContract: axes.map((_, i) => i) };
    let y = product(
      input,
      kernel,
      contract,
      fp8Product((...v) => this.variable(...v)),
    );
    if (options.enableLowRankAdaptation) y = y.add(this.lora(input, kernelInit, inputs, features, axes));
    return bias ? addBias(y, bias) : y;
  }

  private lora(x: Tensor, kernelInit: Initializer, inputs: number[], features: number[], axes: number[]): Tensor {
    const { lowRankAdaptationDim = 32, lowRankAdaptationAlpha, dtype } = this.options;
    const shapes = loraShapes(inputs, features, lowRankAdaptationDim);
    const a = this.param("lora_a_kernel", kernelInit, shapes.a, { dtype, axes: shapes.a.map(() => null) });
    const b = this.param("lora_b_kernel", zeros, shapes.b, { dtype, axes: shapes.b.map(() => null) });
    return loraProduct(x, a, b, axes, lowRankAdaptationAlpha);
  }
}
