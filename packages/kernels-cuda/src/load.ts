/** The native addon te_cuda.node: what it offers, where it may be, and why it could not be loaded. */
import { buildFolders, findBeside, findInstalled, foldersOf, loadAddon, wantsKernels } from "@te/tensor/backend";

/** The functions of te_cuda.node. */
export interface NativeCuda {
  cudaAvailable(): CudaAnswer;
  supports(node: object): null | string;
  /** Runs one kernel with copies both ways and blocks until it is done: for tests. */
  evaluate(node: object, inputs: readonly Uint8Array[]): Uint8Array[];
}

/** A GPU that was found. */
export interface CudaDevice {
  readonly name: string;
  /** "9.0" on Hopper. */
  readonly computeCapability: string;
  readonly memoryBytes: number;
}

/** Whether the CUDA backend can run here, and why not. */
export interface CudaAnswer {
  readonly available: boolean;
  /** Why not, where not. */
  readonly reason?: string;
  readonly devices: readonly CudaDevice[];
}

const FILE = "te_cuda.node";
const PACKAGES: Readonly<Record<string, string>> = { "linux-x64": "@te/kernels-cuda-linux-x64-cuda13" };

/**
 * Finds and loads te_cuda.node in TE_NATIVE_DIR, this repository's build, beside this file or the bundle that holds it, or
 * the platform package. Never throws.
 */
export function loadCuda(env: NodeJS.ProcessEnv = process.env): NativeCuda | { readonly reason: string } {
  if (!wantsKernels(env)) return { reason: "TE_KERNELS=off" };
  const own = foldersOf({ url: import.meta.url, filename: () => __filename });
  const folders = env.TE_NATIVE_DIR ? [env.TE_NATIVE_DIR] : [...buildFolders(own, "kernels-cuda"), ...own];
  const name = PACKAGES[`${process.platform}-${process.arch}`];
  const path = findBeside(folders, FILE) ?? (name && !env.TE_NATIVE_DIR ? findInstalled(own, name) : undefined);
  if (!path) return { reason: missing(env.TE_NATIVE_DIR, name) };
  try {
    return loadAddon(path) as NativeCuda;
  } catch (error) {
    return { reason: `${path} does not load: ${firstLine(error)}` };
  }
}

function missing(asked: string | undefined, name: string | undefined): string {
  if (asked) return `${FILE} does not exist in ${asked} (from TE_NATIVE_DIR)`;
  return name
    ? `${name} is not installed, and there is no build of ${FILE}`
    : `there are no CUDA kernels for ${process.platform}-${process.arch}`;
}

const firstLine = (error: unknown): string => (error instanceof Error ? error.message : String(error)).split("\n")[0]!;
