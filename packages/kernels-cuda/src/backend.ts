/** A GPU as a device of @te/tensor. */
import {
  type Backend,
  fuseElementwise,
  joinAdamwUpdates,
  joinSquareSums,
  type NativeAddon,
  nativeBackend,
  type Pass,
  warnOnce,
} from "@te/tensor/backend";
import { findGpu } from "./gpus.js";
import type { LoadedCuda } from "./load.js";
import type { CudaDevice, CudaLibraries } from "./native.js";
import { joinBiasGradients } from "./passes/bias-gradients.js";
import { joinElementwise } from "./passes/join-elementwise.js";
import { joinActivations, joinBiases } from "./passes/product-epilogues.js";
import { roundedGradients } from "./passes/rounded-gradients.js";
import { joinScalingUpdates } from "./passes/scaling-updates.js";
import { transposedCopies } from "./passes/transposed-copies.js";
import { joinWorld } from "./world.js";

/** What happens to programs for a GPU: before their elementwise ops are fused, and after. */
const PASSES_BEFORE = [joinAdamwUpdates({ many: true }), joinSquareSums({ many: true })];
const PASSES = [
  joinBiases,
  joinActivations,
  joinBiasGradients,
  roundedGradients,
  transposedCopies,
  joinScalingUpdates,
  joinElementwise,
];

/** All that happens to a program of nodes that have kernels before a GPU runs it, in order. For reading what it would run. */
export const cudaPasses: readonly Pass[] = [
  ...PASSES_BEFORE,
  { name: "fuse elementwise", run: fuseElementwise },
  ...PASSES,
];

/** A GPU in use. */
export interface Opened {
  readonly backend: Backend;
  readonly native: NativeAddon;
  readonly gpu: CudaDevice;
  readonly libraries: CudaLibraries;
}

/** Opens the GPU that a device's name stands for; gives the reason, a sentence without a full stop, where that is impossible. */
export function openGpu(loaded: LoadedCuda, name: string, env = process.env): Opened | { readonly reason: string } {
  const found = findGpu(loaded, name, env);
  if ("reason" in found) return found;
  const { native, gpu } = found;
  try {
    const libraries = native.info();
    for (const problem of libraries.problems ?? []) warnOnce(problem);
    const functions = native.open(gpu.ordinal);
    const description = describe(gpu, libraries);
    const passes = { passesBefore: PASSES_BEFORE, passes: PASSES };
    const backend = nativeBackend({
      name,
      description,
      native: functions,
      ...passes,
      joinWorld: (...how) => joinWorld(native, gpu.ordinal, ...how),
    });
    return { gpu, libraries, native: functions, backend };
  } catch (error) {
    // Another process has it to itself, or its memory is full.
    return { reason: `${gpu.name} cannot be used: ${error instanceof Error ? error.message : error}` };
  }
}

/** One line: the GPU, and what multiplies matrices on it. */
export const describe = ({ name, computeCapability }: CudaDevice, libraries: CudaLibraries): string =>
  `${name}, compute capability ${computeCapability}, ${productsOf(libraries)}`;

/** What multiplies matrices, for people. */
export function productsOf({ cublasLt, cublasLtReason }: CudaLibraries): string {
  if (cublasLtReason !== undefined) return `products by its own kernels (${cublasLtReason})`;
  return cublasLt === undefined ? "cuBLASLt" : `cuBLASLt ${cublasLt}`;
}
