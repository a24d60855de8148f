/** What the addon of a native device offers: the functions that native/node gives every device, and what they are given. */
import { expectObject, expectStrings } from "../expect.js";

/** Handles are small integers; a released one is an error, never a crash. */
export interface NativeAddon {
  /** null when a kernel takes the node, else the reason why none does. */
  supports(node: NativeNode): null | string;
  /** Bytes that the kernel of a node takes beside its operands. Throws an error with `code` "unsupported" where none takes it. */
  scratchBytes(node: NativeNode): number;
  /** Prepares a program and returns its handle. Throws an error with `code` "unsupported" naming the op no kernel takes. */
  compile(program: NativeProgram): number;
  destroy(program: number): void;
  /** Queues a run and returns at once. `handles` are int32: those of the inputs, then room for those of the results. */
  run(program: number, handles: ArrayBuffer): void;

  create(bytes: number): number;
  /** Copies before it returns. */
  fromArray(bytes: Uint8Array): number;
  /** Copies when the device comes to it: nobody may change the array any more. */
  upload(bytes: Uint8Array): number;
  /** Fills `into` after everything queued earlier; rejects with the error of the kernel that should have made the contents. */
  read(tensor: number, into: Uint8Array): Promise<void>;
  /** The same in memory that is taken when the device comes to it, and that V8 need not fill with zeros: for large tensors. */
  fetch(tensor: number): Promise<ArrayBuffer>;
  readSync(tensor: number, into: Uint8Array): void;
  release(tensor: number): void;
  /** The same, of a tensor that was donated to a run, which may have ended it. */
  releaseDonated(tensor: number): void;
  /** Whether a tensor that was donated is still there, because the run failed. Waits for the run. */
  reclaim(tensor: number): boolean;

  /** Releases the tensor, destroys the program, when `owner` is collected. true: it is time to reclaim memory. */
  own(tensor: number, owner: object): boolean;
  ownProgram(program: number, owner: object): boolean;
  /** Releases at once what was collected and was owned. false: that was too little, so far. */
  sweep(): boolean;
  /** Has V8 collect all garbage, if that is due, and sweeps. */
  collect(): void;

  /** Resolves when everything queued so far is done. */
  wait(): Promise<void>;

  /**
   * Bytes: held by handles of this environment now and at most (live, peak), taken from the system by all of the process,
   * arena included, now and at most (used, usedPeak), kept for reuse (cached), and working memory of programs (arena).
   */
  memory(): { live: number; peak: number; used: number; usedPeak: number; cached: number; arena: number };
  resetPeak(): void;
  /** Gives cached memory back to the system. */
  trim(): void;

  /** Time that the device has spent working. */
  busyNs(): number;
  profile(on: boolean): void;
  /** The kernels run since the last call, while profiling was on. `startNs` counts as process.hrtime does. */
  profileResults(): { op: string; node: number; executable: number; startNs: number; ns: number }[];
}

/** Every function that an addon of this version has. */
const FUNCTIONS: Readonly<Record<keyof NativeAddon, true>> = {
  supports: true,
  scratchBytes: true,
  compile: true,
  destroy: true,
  run: true,
  create: true,
  fromArray: true,
  upload: true,
  read: true,
  fetch: true,
  readSync: true,
  release: true,
  releaseDonated: true,
  reclaim: true,
  own: true,
  ownProgram: true,
  sweep: true,
  collect: true,
  wait: true,
  memory: true,
  resetPeak: true,
  trim: true,
  busyNs: true,
  profile: true,
  profileResults: true,
};

/**
 * The first function that an addon lacks, of those in `more` and of NativeAddon: it was built from other sources. Undefined
 * where it has all.
 */
export function lackingFunction(addon: object, more: readonly string[] = []): string | undefined {
  expectObject("lackingFunction", { addon });
  expectStrings("lackingFunction", { more });
  const names = [...more, ...Object.keys(FUNCTIONS)];
  return names.find((name) => typeof (addon as Record<string, unknown>)[name] !== "function");
}

/** Shape and dtype of an operand. */
export interface NativeAval {
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** One op application, to ask about. */
export interface NativeNode {
  readonly op: string;
  readonly inputs: readonly (NativeAval | null)[];
  readonly outputs: readonly NativeAval[];
  readonly params: object;
}

/** A program with a place for each value. */
export interface NativeProgram {
  /** `kind`: 0 an input, 1 in the arena, 2 an output. `at`: which input or output, or the byte offset in the arena. */
  readonly values: readonly (NativeAval & { readonly kind: 0 | 1 | 2; readonly at: number })[];
  readonly nodes: readonly {
    readonly op: string;
    readonly inputs: readonly number[];
    readonly outputs: readonly number[];
    readonly params: object;
  }[];
  readonly inputs: number;
  /** `alias`: the input whose memory the output takes over, or -1. */
  readonly outputs: readonly { readonly value: number; readonly alias: number }[];
  /** Inputs that end with a run, whether an output takes their memory over or none. */
  readonly donated?: readonly number[];
  readonly arenaBytes: number;
}
