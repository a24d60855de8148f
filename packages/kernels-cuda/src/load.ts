import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

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

const PACKAGES: Readonly<Record<string, string>> = { "linux-x64": "@te/kernels-cuda-linux-x64-cuda13" };
const REPOSITORY = fileURLToPath(new URL("../../../native/build", import.meta.url));
const require = createRequire(import.meta.url);

/** Finds and loads te_cuda.node in TE_NATIVE_DIR, this repository's build, or the platform package. Never throws. */
export function loadCuda(
  env: NodeJS.ProcessEnv = process.env,
  repository = REPOSITORY,
): NativeCuda | { readonly reason: string } {
  if (env.TE_KERNELS === "off") return { reason: "TE_KERNELS=off" };
  const built = join(env.TE_NATIVE_DIR || repository, "te_cuda.node");
  const path = existsSync(built) || env.TE_NATIVE_DIR ? built : PACKAGES[`${process.platform}-${process.arch}`];
  if (!path) return { reason: `there are no CUDA kernels for ${process.platform}-${process.arch}` };
  try {
    return require(path) as NativeCuda;
  } catch (error) {
    return { reason: `${path} is not there or does not load: ${firstLine(error)}` };
  }
}

const firstLine = (error: unknown): string => (error instanceof Error ? error.message : String(error)).split("\n")[0]!;
