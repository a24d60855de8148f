/** The module LayerNormMLP: a norm, two products and the activation between them. */
import type { Fp8DotOptions } from "@te/fp8";
import { withShardingConstraintByLogicalAxes as constrain } from "@te/sharding";
import { checkpointName, type DType, type Tensor } from "@te/tensor";
import { type Defaults, fail, type WithDefaults, withDefaults } from "@te/tensor/op";
import { type ClampedActivationParams, parseActivations } from "./activations.js";
import {
  addBias,
  checkInput,
  checkLastAxis,
  checkParameterDType,
  type Fp8Product,
  fp8Product,
  product,
  warnWideInput,
} from "./dense.js";
import { checkRate, type DropoutCallOptions } from "./dropout.js";
import { chainSlices, type Initializer, varianceScaling, zeros } from "./initializers.js";
import { type InputNormOptions, inputNorm, inputNormDefaults } from "./input-norm.js";
import { applyNorm, checkNorm, type Norm } from "./layer-norm.js";
import { adapter, checkLora, type LoraOptions, loraDefaults } from "./lora.js";
import { type Axes, Module } from "./module.js";
import { checkName } from "./names.js";
import { dropout } from "./ops/dropout.js";
import { type ActivationParams, gatedActivationOp } from "./ops/gated-activation.js";

/** Options of {@link LayerNormMLP}. */
export interface LayerNormMLPOptions extends InputNormOptions, LoraOptions {
  /** Width between the two products. Default 2048. */
  intermediateDim?: number;
  /** Of both kernels, slice by slice of the first. Default varianceScaling(1, "fan_in", "truncated_normal"). */
  kernelInit?: Initializer;
  /** Logical axes of the first kernel. Default ["embed", "act", "mlp"]. */
  kernelAxes1?: Axes;
  /** Logical axes of the second kernel. Default ["mlp", "embed"]. */
  kernelAxes2?: Axes;
  /** Default false. */
  useBias?: boolean;
  /** Of both biases. Default zeros. */
  biasInit?: Initializer;
  /** Logical axes of the first bias. Default ["act", "mlp"]. */
  biasAxes1?: Axes;
  /** Logical axes of the second bias. Default ["embed"]. */
  biasAxes2?: Axes;
  /**
   * One name per slice of the first product, in any case; the results are multiplied. A leading "linear" or
   * "clamped_linear" reverses the names, not the slices. Default ["gelu"].
   */
  activations?: readonly string[];
  /** Numbers of clamped activations. Default null: limit 7, alpha 1.702, gluLinearOffset 1. */
  activationParams?: ClampedActivationParams | null;
  /** Random stream of the dropout. Default "dropout". */
  intermediateDropoutRngName?: string;
  /** Dropout after the activation, in [0, 1]. Default 0. */
  intermediateDropoutRate?: number;
  /** Axes of the activation's result along which one draw serves all elements. Default []. */
  intermediateHiddenDropoutDims?: readonly number[];
  /** Must be -1 (default). */
  axis?: -1;
  /** Dtype of the parameters: float32 (default), bfloat16 or float16. */
  dtype?: DType;
  /** Inputs are sequence-first; says only which logical axes apply. Default false. */
  transposeBatchSequence?: boolean;
  /** Logical axes of the first product's input, one per axis. Default null: no constraint. */
  dot1InputAxes?: Axes | null;
  /** Logical axes of the second product's input, one per axis. Default null: no constraint. */
  dot2InputAxes?: Axes | null;
  /** Name by which checkpoint policies know the pre-activation. Default "ffn1". */
  ffn1CkptName?: string;
  /** Name by which checkpoint policies know the result. Default "ffn2". */
  ffn2CkptName?: string;
  /** Name by which checkpoint policies know the FP8 operands of both products. Default null: none. */
  quantizationCheckpointName?: string | null;
  /** Name among the parent's variables. */
  name?: string;
}

type Options = WithDefaults<LayerNormMLPOptions, typeof LayerNormMLP.defaults>;

/**
 * A norm and a two-layer perceptron: out = activation(norm(x) · wi + wi_bias) · wo + wo_bias. `call(x, { deterministic })`
 * with x [..., H], float32, bfloat16 or float16, gives [out [..., H], layernormOutput [..., H] | undefined] in the dtype of
 * x; deterministic (default false) means no dropout.
 *
 * Parameters, in `dtype`: scale, ln_bias [H], wi_kernel [H, A, F], wo_kernel [F, H], wi_bias [A, F], wo_bias [H]; A is the
 * number of activations, F the intermediateDim. Adapters of rank r: wi_lora_a_kernel [H, A, r], wi_lora_b_kernel [A, r, F],
 * wo_lora_a_kernel [F, r], wo_lora_b_kernel [r, H]. Inside fp8Autocast both products run in FP8 with state in fp8_metas
 * (x_0_scale, …, grad_1_amax_history); where the recipe rounds from float32 and nothing else reads their results, norm and
 * activation write FP8 directly.
 *
 * Throws TeError as LayerNorm and DenseGeneral do, and "option" for an activation, rate or axis that does not exist.
 */
export class LayerNormMLP extends Module {
  static override readonly name: string = "LayerNormMLP";
  static readonly defaults = {
    intermediateDim: 2048,
    ...inputNormDefaults,
    kernelInit: varianceScaling(1, "fan_in", "truncated_normal"),
    kernelAxes1: ["embed", "act", "mlp"],
    kernelAxes2: ["mlp", "embed"],
    useBias: false,
    biasInit: zeros,
    biasAxes1: ["act", "mlp"],
    biasAxes2: ["embed"],
    activations: ["gelu"],
    activationParams: null,
    intermediateDropoutRngName: "dropout",
    intermediateDropoutRate: 0,
    intermediateHiddenDropoutDims: [],
    ...loraDefaults,
    axis: -1,
    dtype: "float32",
    transposeBatchSequence: false,
    dot1InputAxes: null,
    dot2InputAxes: null,
    ffn1CkptName: "ffn1",
    ffn2CkptName: "ffn2",
    quantizationCheckpointName: null,
    name: undefined,
  } satisfies Defaults<LayerNormMLPOptions>;

  private readonly options: Options;
  private readonly type: Norm["type"];
  private readonly activation: ActivationParams;
  protected override readonly callOptions = { deterministic: false };

  constructor(options: LayerNormMLPOptions = {}) {
    super(options);
    const fn = "LayerNormMLP";
    this.options = withDefaults(fn, options, LayerNormMLP.defaults);
    this.type = checkNorm(fn, this.options);
    this.activation = parseActivations(fn, this.options.activations, this.options.activationParams);
    checkLastAxis(fn, this.options.axis, "Transpose the input.");
    checkParameterDType(fn, this.options.dtype);
    checkLora(fn, this.options);
    checkRate(fn, "intermediateDropoutRate", this.options.intermediateDropoutRate);
    checkName(fn, "intermediateDropoutRngName", this.options.intermediateDropoutRngName);
    const { intermediateDim } = this.options;
    if (!Number.isSafeInteger(intermediateDim) || intermediateDim < 1)
      fail("option", fn, "intermediateDim must be an integer of at least 1", intermediateDim);
  }

  call(
    x: Tensor,
    { deterministic = false }: DropoutCallOptions = {},
  ): [out: Tensor, layernormOutput: Tensor | undefined] {
    const { options } = this;
    checkInput("LayerNormMLP", x);
    const { dtype } = x;
    const input = options.layernormInputAxes ? constrain(x, options.layernormInputAxes) : x;
    const { norm, first, second } = this.weights(x.shape.at(-1)!);
    warnWideInput("LayerNormMLP", x, first.kernel.dtype);
    const drops = !deterministic && options.intermediateDropoutRate > 0;
    const alone = norm && !options.returnLayernormOutput && !options.enableLowRankAdaptation;
    // What only the products read is rounded from float32 where the recipe wants it: the norm's result, the activation's
    // and the gradient of the pre-activation.
    const wideNorm = alone && first.fp8?.recipe.fromFloat32;
    const wideGradient = wideNorm && !drops;
    const normalized = norm ? applyNorm(input, norm, wideNorm) : input;
    const u = this.product(normalized, first, { dtype, wideGradient });
    let h = gatedActivationOp({ u }, this.activation).y;
    if (drops) h = this.drop(h);
    const out = this.product(h, second, { dtype });
    return [out, options.returnLayernormOutput ? normalized : undefined];
  }

  /** x · kernel, with adapter and bias, under its name. In FP8 the product adds the bias before it rounds. */
  private product(x: Tensor, of: Product, rounding: Pick<Fp8DotOptions, "dtype" | "wideGradient">): Tensor {
    const { options } = this;
    const { kernel, bias, fp8, name: resultName } = of;
    const operand = of.inputAxes ? constrain(x, of.inputAxes) : x;
    const axes = [x.rank - 1];
    const whole = fp8 !== undefined && !options.enableLowRankAdaptation;
    let y = product(operand, kernel, { lhsContract: axes, rhsContract: [0] }, fp8, {
      ...rounding,
      ...(whole && { bias, resultName }),
      checkpointName: options.quantizationCheckpointName,
    });
    if (whole) return y;
    if (options.enableLowRankAdaptation) {
      const features = kernel.shape.slice(1);
      y = y.add(adapter(this.parameters, of.adapter, of.init, operand, axes, features, options));
    }
    return checkpointName(bias ? addBias(y, bias) : y, resultName);
  }

  /** In the order in which the original creates them, which decides their keys. */
  private weights(hidden: number): { norm: Norm | undefined; first: Product; second: Product } {
    const { options } = this;
    const { dtype, biasInit, kernelInit, intermediateDim: width, useBias } = options;
    const count = this.activation.activations.length;
    const norm = inputNorm(this.parameters, this.type, hidden, options);
    const make = (name: string, init: Initializer, shape: number[], axes: Axes) =>
      this.param(name, init, shape, { dtype, axes });
    const init = chainSlices(kernelInit);
    const wi = make("wi_kernel", init, [hidden, count, width], options.kernelAxes1);
    const wo = make("wo_kernel", kernelInit, [width, hidden], options.kernelAxes2);
    const wiBias = useBias ? make("wi_bias", biasInit, [count, width], options.biasAxes1) : undefined;
    const woBias = useBias ? make("wo_bias", biasInit, [hidden], options.biasAxes2) : undefined;
    const [fp8, secondFp8] = [0, 1].map((index) => fp8Product((...v) => this.variable(...v), index));
    const { dot1InputAxes, dot2InputAxes, ffn1CkptName, ffn2CkptName } = options;
    return {
      norm,
      first: { kernel: wi, bias: wiBias, fp8, init, adapter: "wi_", inputAxes: dot1InputAxes, name: ffn1CkptName },
      second: {
        kernel: wo,
        bias: woBias,
        fp8: secondFp8,
        init: kernelInit,
        adapter: "wo_",
        inputAxes: dot2InputAxes,
        name: ffn2CkptName,
      },
    };
  }

  private drop(h: Tensor): Tensor {
    const { intermediateDropoutRate: rate, intermediateDropoutRngName, intermediateHiddenDropoutDims } = this.options;
    const broadcastDims = intermediateHiddenDropoutDims.map((d) => (d < 0 ? d + h.rank : d));
    return dropout(h, this.makeRng(intermediateDropoutRngName), { rate, broadcastDims });
  }
}

/** One of the two products. */
interface Product {
  readonly kernel: Tensor;
  readonly bias: Tensor | undefined;
  readonly fp8: Fp8Product | undefined;
  /** Of the adapter's first kernel, and what the names of both start with. */
  readonly init: Initializer;
  readonly adapter: "wi_" | "wo_";
  /** Logical axes of the input. */
  readonly inputAxes: Axes | null;
  /** Name by which checkpoint policies know the result. */
  readonly name: string;
}
