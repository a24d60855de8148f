/** The functions of te_cpu.node: those of every native device, and the CPU's own. */
import { lackingFunction, type NativeAddon } from "@te/tensor/backend";

export interface Native extends NativeAddon {
  info(): NativeInfo;
  /** Returns the number that is used: as many as can be had. */
  setThreads(count: number): number;

  /** Yardsticks for benchmarks; they block the calling thread. GFLOP/s and GB/s. */
  productPeak(dtype: "float32" | "bfloat16", seconds: number): number;
  copyBandwidth(seconds: number, bytes: number): number;
  readBandwidth(seconds: number, bytes: number): number;
  /** Seconds of one of MPI's own collectives, which all processes of the world call. */
  collectiveTime(name: string, bytes: number, times: number): number;

  /** Waits until all processes that mpirun started have joined. `library`: the file of MPI, or "". */
  joinWorld(library: string): { readonly rank: number; readonly size: number };
  /** Bytes that this process has sent to others so far, by kind of collective. */
  sentBytes(): Readonly<Record<string, number>>;
  /** Waits until the work of this process is done and all processes have come here; a code that is not 0 ends all at once. */
  leaveWorld(code: number): void;
}

const OWN: Readonly<Record<Exclude<keyof Native, keyof NativeAddon>, true>> = {
  info: true,
  setThreads: true,
  productPeak: true,
  copyBandwidth: true,
  readBandwidth: true,
  collectiveTime: true,
  joinWorld: true,
  sentBytes: true,
  leaveWorld: true,
};

/** The first function that an addon lacks: it was built from other sources. */
export const lacking = (addon: object): string | undefined => lackingFunction(addon, Object.keys(OWN));

/** What the native build says of itself and of the machine. */
export interface NativeInfo {
  /** The instruction set in use, and all that this processor has kernels for. */
  readonly isa: string;
  readonly isas: readonly string[];
  readonly threads: number;
  /** The version of oneDNN, the yardstick of products; undefined on arm64, which has one of its own. */
  readonly oneDNN: string | undefined;
  /** Whether the processor multiplies bfloat16 itself. */
  readonly nativeBfloat16: boolean;
  /** What was wrong with the settings: a sentence each. */
  readonly problems: readonly string[];
}
