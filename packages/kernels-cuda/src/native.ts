/** The native addon te_cuda.node: its own functions, and those of every native device, on each GPU. */
import type { NativeAddon } from "@te/tensor/backend";

/** The functions of te_cuda.node. */
export interface NativeCuda {
  cudaAvailable(): CudaAnswer;
  info(): { readonly cublasLtReason?: string };
  /** The functions of one GPU, for this environment. Throws where it cannot be used. */
  open(ordinal: number): NativeAddon;
}

/** A GPU that was found. */
export interface CudaDevice {
  readonly ordinal: number;
  readonly name: string;
  /** "9.0" on Hopper. */
  readonly computeCapability: string;
  readonly memoryBytes: number;
  /** Why the kernels cannot run on it, where they cannot. */
  readonly reason?: string;
}

/** Whether the CUDA backend can run here, and why not. */
export interface CudaAnswer {
  readonly available: boolean;
  /** Why not, where not. */
  readonly reason?: string;
  readonly devices: readonly CudaDevice[];
}
