import type { DType, Tensor } from "@te/tensor";
import { checkInput } from "./dense.js";
import { type Initializer, ones, zeros } from "./initializers.js";
import { type Axes, Module } from "./module.js";
import { type LayerNormType, parseNormType } from "./norm-type.js";
import { layerNormOp } from "./ops/layer-norm.js";
import { rmsNormOp } from "./ops/rms-norm.js";

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
  /** Default zeros; layernorm only. */
  biasInit?: Initializer;
  biasAxes?: Axes;
  /** Dtype of the parameters. Default float32. */
  dtype?: DType;
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

export function applyNorm(x: Tensor, { type, epsilon, zeroCenteredGamma, gamma, beta }: Norm): Tensor {
  const scale = gamma.astype(x.dtype);
  return type === "layernorm"
    ? layerNormOp({ x, gamma: scale, beta: beta!.astype(x.dtype) }, { epsilon, zeroCenteredGamma }).y
    : rmsNormOp({ x, gamma: scale }, { epsilon }).y;
}

/**
 * Normalises the last axis: y = (x - mean) / sqrt(variance + epsilon) * gamma + beta, or x / sqrt(mean(x²) + epsilon) *
 * gamma. x [..., H] → the same shape and dtype; statistics in float32. Parameters: scale [H] and, for layernorm,
 * ln_bias [H].
 */
export class LayerNorm extends Module {
  private readonly type: "layernorm" | "rmsnorm";

  constructor(private readonly options: LayerNormOptions = {}) {
    super(options);
    this.type = parseNormType("LayerNorm", options.layernormType ?? "layernorm", options.zeroCenteredGamma ?? false);
  }

  call(x: Tensor): Tensor {
    const {
      epsilon = 1e-6,
      zeroCenteredGamma = false,
      scaleInit,
      scaleAxes = ["embed"],
      biasInit = zeros,
      biasAxes = ["embed"],
      dtype,
    } = this.options;
    checkInput("LayerNorm", x);
    const shape = [x.shape.at(-1)!];
    const gamma = this.param("scale", scaleInit ?? (zeroCenteredGamma ? zeros : ones), shape, {
      dtype,
      axes: scaleAxes,
    });
    const beta =
      this.type === "layernorm" ? this.param("ln_bias", biasInit, shape, { dtype, axes: biasAxes }) : undefined;
    return applyNorm(x, { type: this.type, epsilon, zeroCenteredGamma, gamma, beta });
  }
}
