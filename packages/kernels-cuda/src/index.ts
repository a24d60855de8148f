/**
 * @te/kernels-cuda: importing it makes GPUs known to @te/tensor, as the device "cuda" and, where there are several, "cuda:1"
 * and so on. "cuda" is taken before the CPU. A machine without a GPU runs on the CPU without a word; where there is one that
 * cannot be used, a line on stderr says why.
 */
import { type KernelTiming, profileKernels, registerBackend } from "@te/tensor/backend";
import { expectFunction, expectString, fail } from "@te/tensor/op";
import { type Opened, openGpu, productsOf } from "./backend.js";
import { countGpus, gpuNames } from "./gpus.js";
import { loadCuda } from "./load.js";
import type { CudaAnswer, CudaDevice, CudaReplays } from "./native.js";

const opened = new Map<string, Opened>();

function open(name: string): Opened | { readonly reason: string } {
  const known = opened.get(name);
  if (known) return known;
  const found = openGpu(loadCuda(), name);
  if ("backend" in found) opened.set(name, found);
  return found;
}

const gpus = countGpus();
for (const name of gpuNames(gpus)) {
  const factory = () => {
    const found = open(name);
    return "backend" in found ? found.backend : { reason: found.reason, unexpected: gpus > 0 };
  };
  registerBackend(name, factory, name === "cuda" ? { priority: 20 } : {});
}

/** Whether kernels can run on a GPU of this machine, which GPUs there are, and otherwise the reason. Never throws. */
export function cudaAvailable(): CudaAnswer {
  const native = loadCuda();
  return "reason" in native ? { available: false, reason: native.reason, devices: [] } : native.cudaAvailable();
}

/** What runs on a GPU. */
export interface CudaInfo extends CudaDevice {
  readonly available: true;
  /** What multiplies matrices: "cuBLASLt" and its version, or why its own kernels do. */
  readonly products: string;
}

/** What the kernels of a device run on, or the reason why they cannot. Opens the GPU. */
export function cudaInfo(device = "cuda"): CudaInfo | { readonly available: false; readonly reason: string } {
  expectString("cudaInfo", { device });
  const found = open(device);
  if (!("backend" in found)) return { available: false, reason: found.reason };
  return { available: true, ...found.gpu, products: productsOf(found.libraries) };
}

/**
 * Runs `body` and returns the time of every kernel that ran on the device meanwhile, in order. Kernels run one by one then,
 * each between two events, and nothing is replayed. Empty where the GPU cannot be used.
 */
export async function profile(body: () => void | Promise<void>, device = "cuda"): Promise<KernelTiming[]> {
  expectFunction("profile", { body });
  expectString("profile", { device });
  const found = open(device);
  if ("backend" in found) return profileKernels(found.native, body);
  await body();
  return [];
}

/** Bytes of a GPU's memory. */
export interface CudaMemory {
  /** Of tensors of this thread, now and at most. */
  readonly live: number;
  readonly peak: number;
  /** Taken from the driver by the whole process, now and at most. */
  readonly used: number;
  readonly usedPeak: number;
  /** Kept for reuse, and the working memory of programs. */
  readonly cached: number;
  readonly arena: number;
}

/** The memory that this process has of a GPU. Throws where the GPU cannot be used. */
export function cudaMemory(device = "cuda"): CudaMemory {
  expectString("cudaMemory", { device });
  const found = open(device);
  if ("backend" in found) return found.native.memory();
  return fail("backend", "cudaMemory", `the device "${device}" must be available`, undefined, `${found.reason}.`);
}

/** How often programs of this process ran as CUDA graphs. Zeros where there is no build. Never throws. */
export function cudaReplays(): CudaReplays {
  const native = loadCuda();
  return "reason" in native ? { replayed: 0, executed: 0 } : native.replays();
}

export { cudaPasses } from "./backend.js";
export type { CudaAnswer, CudaDevice, CudaReplays, KernelTiming };
