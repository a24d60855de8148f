/** What a device is: the interface between programs and what runs them. devices.ts knows which there are. */
import type { Aval } from "./aval.js";
import type { Params } from "./op.js";
import type { Pass } from "./program/passes.js";
import type { Program } from "./program/program.js";

/** One op application with everything a backend needs to decide whether it has a kernel. */
export interface NodeSpec {
  readonly op: string;
  readonly inputs: readonly (Aval | null)[];
  readonly outputs: readonly Aval[];
  readonly params: Params;
}

/**
 * Memory of a device. A failed run leaves its error in its output buffers; reading them rejects with it. A buffer that is
 * not reachable any more gives its memory back by itself, also in a loop that never awaits.
 */
export interface DeviceBuffer {
  readonly bytes: number;
  /** The contents after everything dispatched earlier has run. */
  read(): Promise<Uint8Array>;
  /** The same, blocking the calling thread. */
  readSync(): Uint8Array;
  /** Gives the memory back. Programs already dispatched keep what they need. */
  release(): void;
  /** Said after a run to which it was donated was dispatched. */
  donate(): void;
  /** Whether the run to which it was donated failed and left it as it was. Waits for that run. */
  reclaim(): boolean;
}

/** A compiled program. One that is not reachable any more is disposed by itself. */
export interface Executable {
  /**
   * Dispatches and returns at once. Donated inputs (see Program.donated) end with the run. Where it fails before it wrote
   * over them, they are what they were: the plan of memory has no value checked after the first of them is written over.
   */
  run(inputs: readonly DeviceBuffer[]): DeviceBuffer[];
  dispose(): void;
}

/** Bytes on a device: held by tensors now, the highest of that, kept for reuse, and working memory of programs. */
export interface MemoryStats {
  readonly live: number;
  readonly peak: number;
  readonly cached: number;
  readonly arena: number;
}

/** What processes exchange through: MPI between CPUs, NCCL between GPUs. */
export type Transport = "mpi" | "nccl";

/** The processes that one was started with, as by mpirun. */
export interface World {
  /** Which of them this is, from 0 on, and how many there are. */
  readonly rank: number;
  readonly size: number;
  /** Bytes that this one has sent to others in programs that ran, by kind of collective: "all_reduce". */
  sentBytes(): Readonly<Record<string, number>>;
  /** At the end, with the exit status: 0 waits until all have come here, anything else ends all of them. */
  leave(code: number): void;
}

/** What a device must offer. Programs that it compiles hold only nodes that it supports. */
export interface Backend {
  readonly name: string;
  /** One line for people: what runs here. */
  readonly description: string;
  /** What the device does to a program of nodes that it supports before it compiles it, in order. */
  readonly passes?: readonly Pass[];
  /**
   * true, or the reason why there is no kernel for this node. Its reference then takes its place; an op without one runs
   * on the host, between two programs of the device.
   */
  supports(node: NodeSpec): true | string;
  /**
   * Bytes that the kernel of a node that is supported takes while it runs, beside its operands. A program takes as many as the
   * one that takes most. Default: none.
   */
  scratchBytes?(node: NodeSpec): number;
  compile(program: Program): Executable;
  /** "copy": before it returns. "take": the caller gives the array away, and the device copies when it comes to it. */
  fromHost(bytes: Uint8Array, how: "copy" | "take"): DeviceBuffer;
  memory(): MemoryStats;
  resetPeak(): void;
  /**
   * Joins the processes that this one was started with, and waits until all have. Programs may then hold ops in which they
   * exchange. `over`: what they exchange through; throws where that is not the device's. `library`: its file, or "" for the
   * one that is found. A device without it has no such ops.
   */
  joinWorld?(over: Transport | undefined, library: string): World;
}
