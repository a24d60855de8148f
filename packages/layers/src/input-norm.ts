/** The norm in front of a product, as LayerNormDenseGeneral and LayerNormMLP have it. */
import type { Defaults, WithDefaults } from "@te/tensor/op";
import { type Initializer, zeros } from "./initializers.js";
import { type Norm, type NormOptions, normParameters } from "./layer-norm.js";
import type { Axes, ParameterMaker } from "./module.js";
import type { LayerNormType } from "./norm-type.js";

export interface InputNormOptions {
  /** Default true; false leaves out the norm. */
  enableLayernorm?: boolean;
  /** "layernorm" (default) or "rmsnorm", in any spelling. */
  layernormType?: LayerNormType;
  /** Added to the variance, or to the mean square. Default 1e-6. */
  epsilon?: number;
  /** Scale by 1 + gamma; layernorm only. Default false. */
  zeroCenteredGamma?: boolean;
  /** Default ones, or zeros with zeroCenteredGamma. */
  scaleInit?: Initializer;
  /** Logical axes of gamma. Default ["embed"]. */
  scaleAxes?: Axes;
  /** Of beta; layernorm only. Default zeros. */
  lnBiasInit?: Initializer;
  /** Logical axes of beta. Default ["embed"]. */
  lnBiasAxes?: Axes;
  /** Also return the norm's output. Default false; in FP8 the norm then writes high precision. */
  returnLayernormOutput?: boolean;
  /** Logical axes of the norm's input, one per axis. Default null: no constraint. */
  layernormInputAxes?: Axes | null;
}

export const inputNormDefaults = {
  enableLayernorm: true,
  layernormType: "layernorm",
  epsilon: 1e-6,
  zeroCenteredGamma: false,
  scaleInit: undefined,
  scaleAxes: ["embed"],
  lnBiasInit: zeros,
  lnBiasAxes: ["embed"],
  returnLayernormOutput: false,
  layernormInputAxes: null,
} satisfies Defaults<InputNormOptions>;

/** The norm with its parameters, or undefined where it is left out. */
export function inputNorm(
  param: ParameterMaker,
  type: Norm["type"],
  hidden: number,
  options: WithDefaults<InputNormOptions, typeof inputNormDefaults> & Pick<NormOptions, "dtype">,
): Norm | undefined {
  if (!options.enableLayernorm) return undefined;
  const { lnBiasInit: biasInit, lnBiasAxes: biasAxes } = options;
  return normParameters(param, type, hidden, { ...options, biasInit, biasAxes });
}
