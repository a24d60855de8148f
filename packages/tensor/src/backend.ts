import type { Aval } from "./aval.js";
import { type ErrorCode, TeError } from "./errors.js";
import type { Params } from "./op.js";
import type { Program } from "./program/program.js";
import { referenceBackend } from "./reference/backend.js";

/** One op application with everything a backend needs to decide whether it has a kernel. */
export interface NodeSpec {
  readonly op: string;
  readonly inputs: readonly (Aval | null)[];
  readonly outputs: readonly Aval[];
  readonly params: Params;
}

/** Memory of a device. A failed run leaves its error in its output buffers; reading them rejects with it. */
export interface DeviceBuffer {
  readonly bytes: number;
  /** The contents after everything dispatched earlier has run. */
  read(): Promise<Uint8Array>;
  /** The same, blocking the calling thread. */
  readSync(): Uint8Array;
  /** Gives the memory back. Programs already dispatched keep what they need. */
  release(): void;
}

/** A compiled program. */
export interface Executable {
  /** Dispatches and returns at once. Donated inputs (see Program.donated) must not be used afterwards. */
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

/** What a device must offer. Programs that it compiles hold only nodes that it supports. */
export interface Backend {
  readonly name: string;
  /** One line for people: what runs here. */
  readonly description: string;
  /** true, or the reason why there is no kernel for this node; the reference then takes its place. */
  supports(node: NodeSpec): true | string;
  compile(program: Program): Executable;
  fromHost(bytes: Uint8Array): DeviceBuffer;
  memory(): MemoryStats;
  resetPeak(): void;
}

type Factory = () => Backend | { readonly reason: string };

const factories = new Map<string, Factory>();
const backends = new Map<string, Backend | { readonly reason: string }>();
let chosen: Backend | undefined;

/** Makes a device known. The factory runs when the device is first asked for; a reason instead of a backend means absent. */
export function registerBackend(name: string, factory: Factory): void {
  factories.set(name, factory);
  backends.delete(name);
  chosen = undefined;
}

registerBackend("reference", () => referenceBackend);

function resolve(name: string): Backend | { readonly reason: string } {
  let found = backends.get(name);
  if (!found) {
    const factory = factories.get(name);
    found = factory ? factory() : { reason: `no package registered the device "${name}"` };
    backends.set(name, found);
  }
  return found;
}

const isBackend = (found: Backend | { readonly reason: string }): found is Backend => "compile" in found;

/** The devices known to this process, with the reason where one is not available. */
export function devices(): { name: string; available: boolean; description: string }[] {
  return [...factories.keys()].map((name) => {
    const found = resolve(name);
    return isBackend(found)
      ? { name, available: true, description: found.description }
      : { name, available: false, description: found.reason };
  });
}

/** Chooses the device by name; "auto" takes the native CPU where present, else the reference. */
export function setDevice(name: string): void {
  if (name === "auto") {
    chosen = automatic();
    return;
  }
  const found = resolve(name);
  if (!isBackend(found)) {
    throw new TeError("backend", `setDevice: "${name}" is not available: ${found.reason}. Use "auto" to take what is.`);
  }
  chosen = found;
}

function automatic(): Backend {
  const wanted = process.env.TE_KERNELS === "off" ? [] : ["cpu"];
  for (const name of wanted) {
    const found = resolve(name);
    if (isBackend(found)) return found;
    if (factories.has(name)) warnOnce(`native kernels are not available: ${found.reason}; using the slow reference`);
  }
  return referenceBackend;
}

/** The device that programs run on now. */
export function currentBackend(): Backend {
  chosen ??= automatic();
  return chosen;
}

/** Bytes held, at peak, cached and in the arena of the current device. */
export const memory = (): MemoryStats => currentBackend().memory();

const said = new Set<string>();

/** One line on stderr, once. */
export function warnOnce(message: string): void {
  if (said.has(message)) return;
  said.add(message);
  process.stderr.write(`te: ${message}\n`);
}

/** Turns an error of native code, which carries code and message, or of an allocation into a TeError. */
export function asTeError(error: unknown): TeError {
  if (TeError.is(error)) return error;
  // Node's error for an array that is too long as well as for one that memory does not hold.
  if (error instanceof RangeError) {
    const message = `memory: every tensor must fit into memory, but ${error.message}. Split the work, or free tensors.`;
    return new TeError("memory", message, { cause: error });
  }
  const { code, message } = error as { code?: string; message?: string };
  return new TeError((code as ErrorCode) ?? "backend", message ?? String(error), { cause: error });
}
