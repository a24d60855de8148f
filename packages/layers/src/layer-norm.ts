/** The module LayerNorm, and the options, parameters and computation of a norm that other modules share. */
import type { DType, Tensor } from "@te/tensor";
import { type Defaults, expectObject, expectString, fail, type WithDefaults, withDefaults } from "@te/tensor/op";
import { checkInput, checkParameterDType, warnWideInput } from "./dense.js";
import { type Initializer, ones, zeros } from "./initializers.js";
import { type Axes, Module, type ParameterMaker } from "./module.js";
import { type LayerNormType, parseNormType } from "./norm-type.js";
import { layerNormOp } from "./ops/layer-norm.js";
import { rmsNormOp } from "./ops/rms-norm.js";

/** Options of {@link LayerNorm}. */
export interface LayerNormOptions {
  /** Added to the variance, or to the mean square. Default 1e-6. */
  epsilon?: number;
  /** "layernorm" (default) or "rmsnorm", in any spelling. */
  layernormType?: LayerNormType;
  /** Scale by 1 + gamma; layernorm only. Default false. */
  zeroCenteredGamma?: boolean;
  /** Default ones, or zeros with zeroCenteredGamma. */
  scaleInit?: Initializer;
  /** Logical axes of gamma. Default ["embed"]. */
  scaleAxes?: Axes;
  /** Of beta; layernorm only. Default zeros. */
  biasInit?: Initializer;
  /** Logical axes of beta. Default ["embed"]. */
  biasAxes?: Axes;
  /** Dtype of the parameters: float32 (default), bfloat16 or float16. */
  dtype?: DType;
  /** Name among the parent's variables. */
  name?: string;
}

/** The parameters of a norm and what it computes; modules with a norm inside share it. */
export interface Norm {
  readonly type: "layernorm" | "rmsnorm";
  readonly epsilon: number;
  readonly zeroCenteredGamma: boolean;
  readonly gamma: Tensor;
  /** layernorm only. */
  readonly beta: Tensor | undefined;
}

/** What a norm needs to know before it has parameters. */
export type NormOptions = Pick<
  WithDefaults<LayerNormOptions, typeof LayerNorm.defaults>,
  "layernormType" | "epsilon" | "zeroCenteredGamma" | "scaleInit" | "scaleAxes" | "biasInit" | "biasAxes" | "dtype"
>;

/**
 * Checks the options of a norm; returns its type in the one spelling used inside. `epsilonName` is the name of the option
 * epsilon, for errors.
 */
export function checkNorm(
  fn: string,
  options: Pick<NormOptions, "layernormType" | "epsilon" | "zeroCenteredGamma">,
  epsilonName = "epsilon",
): Norm["type"] {
  expectObject(fn, { options });
  expectString(fn, { epsilonName });
  const { epsilon } = options;
  if (!(Number.isFinite(epsilon) && epsilon >= 0))
    fail("option", fn, `${epsilonName} must be a number of at least 0`, epsilon);
  return parseNormType(fn, options.layernormType, options.zeroCenteredGamma);
}

/** Makes or reads `scale` and, for layernorm, `ln_bias`, both [hidden]. */
export function normParameters(
  param: ParameterMaker,
  type: Norm["type"],
  hidden: number,
  { epsilon, zeroCenteredGamma, scaleInit, scaleAxes, biasInit, biasAxes, dtype }: NormOptions,
): Norm {
  const gammaInit = scaleInit ?? (zeroCenteredGamma ? zeros : ones);
  const gamma = param("scale", gammaInit, [hidden], { dtype, axes: scaleAxes });
  const beta = type === "layernorm" ? param("ln_bias", biasInit, [hidden], { dtype, axes: biasAxes }) : undefined;
  return { type, epsilon, zeroCenteredGamma, gamma, beta };
}

/** The norm of x, with parameters in the dtype of x: in that dtype, or `wide` in float32 without a rounding. */
export function applyNorm(x: Tensor, norm: Norm, wide = false): Tensor {
  const { type, epsilon, zeroCenteredGamma } = norm;
  const gamma = norm.gamma.astype(x.dtype);
  const input = wide ? x.astype("float32") : x;
  return type === "layernorm"
    ? layerNormOp({ x: input, gamma, beta: norm.beta!.astype(x.dtype) }, { epsilon, zeroCenteredGamma }).y
    : rmsNormOp({ x: input, gamma }, { epsilon }).y;
}

/**
 * Normalises the last axis: y = (x - mean) / sqrt(variance + epsilon) * gamma + beta, or x / sqrt(mean(x²) + epsilon) *
 * gamma. `call(x)` with x [..., H], float32, bfloat16 or float16, gives the same shape and dtype; statistics are float32.
 *
 * Parameters: scale [H] and, for layernorm, ln_bias [H], in `dtype`.
 *
 * Throws TeError: "option" for an unknown type, rmsnorm with zeroCenteredGamma or a negative epsilon, "dtype" for another
 * input.
 */
export class LayerNorm extends Module {
  static override readonly name: string = "LayerNorm";
  static readonly defaults = {
    epsilon: 1e-6,
    layernormType: "layernorm",
    zeroCenteredGamma: false,
    scaleInit: undefined,
    scaleAxes: ["embed"],
    biasInit: zeros,
    biasAxes: ["embed"],
    dtype: "float32",
    name: undefined,
  } satisfies Defaults<LayerNormOptions>;

  private readonly options: WithDefaults<LayerNormOptions, typeof LayerNorm.defaults>;
  private readonly type: Norm["type"];

  constructor(options: LayerNormOptions = {}) {
    super(options);
    this.options = withDefaults("LayerNorm", options, LayerNorm.defaults);
    this.type = checkNorm("LayerNorm", this.options);
    checkParameterDType("LayerNorm", this.options.dtype);
  }

  protected override readonly callOptions = {};

  call(x: Tensor): Tensor {
    checkInput("LayerNorm", x);
    const norm = normParameters(this.parameters, this.type, x.shape.at(-1)!, this.options);
    warnWideInput("LayerNorm", x, norm.gamma.dtype);
    return applyNorm(x, norm);
  }
}
