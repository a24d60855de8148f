/** Variables for inference: kernels rounded to FP8 once and for all. */
import { currentScale, DelayedScaling, type Float8, FP8_COLLECTION_NAME, quantizeWith } from "@te/fp8";
import { Tensor } from "@te/tensor";
import { fail } from "@te/tensor/op";
import { expectVariables } from "./apply-arguments.js";
import { isCollection } from "./scope.js";
import type { Variables, VariableTree } from "./types.js";

/** Kernels by the names of their scales, as DenseGeneral and LayerNormDenseGeneral, and as LayerNormMLP have them. */
const KERNELS = { kernel_scale: "kernel", kernel_0_scale: "wi_kernel", kernel_1_scale: "wo_kernel" } as const;

/**
 * The variables of a module with its kernels in FP8: a quarter of the bytes of float32, and no rounding in each call. For
 * `apply` inside an fp8Autocast with this recipe, without gradients.
 *
 * Every kernel that has a scale in fp8_metas is rounded with the scale of its own largest magnitude, which becomes that
 * scale. All other variables are shared with `variables`, which stay as they are.
 *
 * Throws TeError: "state" for variables without fp8_metas, which init makes inside an fp8Autocast with DelayedScaling, and
 * where a kernel is missing or was rounded before.
 */
export function quantizeKernels(variables: Variables, recipe = new DelayedScaling()): Variables {
  const fn = "quantizeKernels";
  expectVariables(fn, variables);
  if (!(recipe instanceof DelayedScaling)) fail("option", fn, "recipe must be a DelayedScaling", recipe);
  const metas = variables[FP8_COLLECTION_NAME] as VariableTree | undefined;
  const wayOut = "Call init inside fp8Autocast with a DelayedScaling.";
  if (!isCollection(metas)) fail("state", fn, `variables must have ${FP8_COLLECTION_NAME}`, metas, wayOut);
  const [params, scales] = rounded(variables.params, metas as VariableTree, recipe.quantizer("kernel").dtype as Float8);
  return { ...variables, params, [FP8_COLLECTION_NAME]: scales };
}

/** The parameters and the FP8 state of a module, and of those below it. */
function rounded(params: VariableTree, metas: VariableTree, dtype: Float8): [VariableTree, VariableTree] {
  const [kernels, states] = [{ ...params }, { ...metas }];
  for (const [name, below] of Object.entries(metas)) {
    if (!(below instanceof Tensor)) {
      [kernels[name], states[name]] = rounded((params[name] ?? {}) as VariableTree, below, dtype);
      continue;
    }
    const kernelName = KERNELS[name as keyof typeof KERNELS];
    if (kernelName === undefined) continue;
    const kernel = params[kernelName];
    if (!(kernel instanceof Tensor) || kernel.dtype === dtype)
      fail("state", "quantizeKernels", `${kernelName} must be a kernel in high precision`, kernel);
    const scale = currentScale(kernel, dtype);
    kernels[kernelName] = quantizeWith({ scale }, kernel, dtype).q;
    states[name] = scale;
  }
  return [kernels, states];
}
