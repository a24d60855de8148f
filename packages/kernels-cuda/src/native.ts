/** The native addon te_cuda.node: its own functions, and those of every native device, on each GPU. */
import type { NativeAddon } from "@te/tensor/backend";

/** The functions of te_cuda.node. */
export interface NativeCuda {
  cudaAvailable(): CudaAnswer;
  info(): CudaLibraries;
  replays(): CudaReplays;
  /** The functions of one GPU, for this environment. Throws where it cannot be used. */
  open(ordinal: number): NativeAddon;
  /** Takes a seat in the world for a GPU, and waits until all have theirs. `library`: the file of NCCL, or "". */
  joinWorld(seat: Seat & { readonly ordinal: number; readonly library: string }): {
    readonly rank: number;
    readonly size: number;
  };
  /** Bytes that this process has sent to others so far, by kind of collective. */
  sentBytes(): Readonly<Record<string, number>>;
  /** Waits until the GPU's work is done and all processes have come here; a code that is not 0 ends all at once. */
  leaveWorld(ordinal: number, code: number): void;
}

/** The place of a process among those that run together. */
export interface Seat {
  /** From 0 on; -1: MPI knows all of it. */
  readonly rank: number;
  readonly size: number;
  /** "host:port", at which rank 0 listens. */
  readonly coordinator: string;
}

const FUNCTIONS: readonly (keyof NativeCuda)[] = [
  "cudaAvailable",
  "info",
  "replays",
  "open",
  "joinWorld",
  "sentBytes",
  "leaveWorld",
];

/** The first function that an addon lacks: it was built from other sources. */
export const lacking = (addon: object): string | undefined =>
  FUNCTIONS.find((name) => typeof (addon as Record<string, unknown>)[name] !== "function");

/** How programs ran in this process. One that writes over a donated input behind a check of values has two parts. */
export interface CudaReplays {
  /** Parts that were replayed as a CUDA graph. */
  readonly replayed: number;
  /** Parts that ran kernel by kernel: the first run of a program, and runs that come with other memory. */
  readonly executed: number;
}

/** What multiplies matrices, and what is wrong with settings of products. */
export interface CudaLibraries {
  /** "13.1.0": the version of cuBLASLt, where it was found. */
  readonly cublasLt?: string;
  /** Why cuBLASLt is not used, where it is not. */
  readonly cublasLtReason?: string;
  /** A sentence each. */
  readonly problems?: readonly string[];
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
