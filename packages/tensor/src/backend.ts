import type { Aval } from "./aval.js";
import { describe, ERROR_CODES, TeError } from "./errors.js";
import { expectFunction, expectString } from "./expect.js";
import type { Params } from "./op.js";
import type { Program } from "./program/program.js";
import { referenceBackend } from "./reference/backend.js";
import { wantsKernels, warnOnce } from "./settings.js";

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

/** What a device must offer. Programs that it compiles hold only nodes that it supports. */
export interface Backend {
  readonly name: string;
  /** One line for people: what runs here. */
  readonly description: string;
  /** true, or the reason why there is no kernel for this node; the reference then takes its place. */
  supports(node: NodeSpec): true | string;
  compile(program: Program): Executable;
  /** "copy": before it returns. "take": the caller gives the array away, and the device copies when it comes to it. */
  fromHost(bytes: Uint8Array, how: "copy" | "take"): DeviceBuffer;
  memory(): MemoryStats;
  resetPeak(): void;
}

type Absent = { readonly reason: string };
type Factory = () => Backend | Absent;

/**
 * Devices of every copy of this package that was loaded: a bundle holds one, and packages with native code are often left
 * outside of it with another. Copies share them when they agree on Backend, Program and all that these refer to; a change
 * there raises CONTRACT.
 */
interface SharedDevices {
  readonly factories: Map<string, readonly { readonly contract: number; readonly factory: Factory }[]>;
  changes: number;
}
const CONTRACT = 1;
const KEY = Symbol.for("te.devices");
const world = globalThis as { [KEY]?: SharedDevices };
world[KEY] ??= { factories: new Map(), changes: 0 };
const shared = world[KEY];

const own = new Map<string, Factory>([["reference", () => referenceBackend]]);
const backends = new Map<string, Backend | Absent>();
/** What runs programs now: chosen by name, or taken for want of a choice when the shared devices were `seen`. */
let chosen: Backend | undefined;
let byName = false;
let seen = -1;

/** Makes a device known. The factory runs when the device is first asked for; a reason instead of a backend means absent. */
export function registerBackend(name: string, factory: Factory): void {
  expectString("registerBackend", { name });
  expectFunction("registerBackend", { factory });
  own.set(name, factory);
  shared.factories.set(name, [{ contract: CONTRACT, factory }, ...(shared.factories.get(name) ?? [])]);
  shared.changes++;
  backends.delete(name);
  if (chosen?.name === name) chosen = undefined;
}

function resolve(name: string): Backend | Absent {
  let found = backends.get(name);
  if (!found) {
    found = build(name);
    // Where there is none yet, a copy that is loaded later may bring it.
    if (isBackend(found)) backends.set(name, found);
  }
  return found;
}

/** The device of this copy, or that of another; else the first reason. */
function build(name: string): Backend | Absent {
  const others = shared.factories.get(name) ?? [];
  const mine = own.get(name);
  const factories = [mine ?? [], others.filter(({ contract }) => contract === CONTRACT).map(({ factory }) => factory)];
  const answers: Absent[] = [];
  for (const factory of new Set(factories.flat())) {
    const found = factory();
    if (isBackend(found)) return found;
    answers.push(found);
  }
  if (answers.length > 0) return answers[0]!;
  if (others.length === 0) return { reason: `no package registered the device "${name}"` };
  const versions = `by contract ${others[0]!.contract}, and this one goes by ${CONTRACT}`;
  return { reason: `another version of @te/tensor registered the device "${name}" ${versions}: install one version` };
}

const isKnown = (name: string): boolean => own.has(name) || shared.factories.has(name);
const isBackend = (found: Backend | Absent): found is Backend => "compile" in found;

/** The devices known to this process, with the reason where one is not available. */
export function devices(): { name: string; available: boolean; description: string }[] {
  return [...new Set([...own.keys(), ...shared.factories.keys()])].map((name) => {
    const found = resolve(name);
    return isBackend(found)
      ? { name, available: true, description: found.description }
      : { name, available: false, description: found.reason };
  });
}

/** Chooses the device by name; "auto" takes the native CPU where present, else the reference. */
export function setDevice(name: string): void {
  expectString("setDevice", { name });
  if (name === "auto") {
    byName = false;
    chosen = automatic();
    return;
  }
  const found = resolve(name);
  if (!isBackend(found)) {
    throw new TeError("backend", `setDevice: "${name}" is not available: ${found.reason}. Use "auto" to take what is.`);
  }
  byName = true;
  chosen = found;
}

function automatic(): Backend {
  seen = shared.changes;
  if (!wantsKernels()) return referenceBackend;
  const found = resolve("cpu");
  if (isBackend(found)) return found;
  const why = isKnown("cpu")
    ? found.reason
    : 'nothing imported @te/kernels-cpu, as @te/layers does. Solutions: (1) import "@te/kernels-cpu"; ' +
      "(2) set TE_KERNELS=off to use the reference without this message";
  warnOnce(`native kernels are not available: ${why}; using the slow reference`);
  return referenceBackend;
}

/** The device that programs run on now. */
export function currentBackend(): Backend {
  if (chosen === undefined || (seen !== shared.changes && !byName)) chosen = automatic();
  return chosen;
}

const identities = new WeakMap<Backend, string>();
let identityCount = 0;
let keyed: Backend | undefined;
let keyOfKeyed = "";

/**
 * Stands for the current device in the keys of caches: a text for each backend object, so that one that was registered
 * again under a name shares no programs with the first.
 */
export function backendKey(): string {
  const backend = currentBackend();
  if (backend !== keyed) {
    if (!identities.has(backend)) identities.set(backend, `${backend.name}#${identityCount++}`);
    keyed = backend;
    keyOfKeyed = identities.get(backend)!;
  }
  return keyOfKeyed;
}

/** Bytes held, at peak, cached and in the arena of the current device. */
export const memory = (): MemoryStats => currentBackend().memory();

/** Turns an error of native code, which carries code and message, or of an allocation into a TeError. */
export function asTeError(error: unknown): TeError {
  if (TeError.is(error)) return error;
  if (error instanceof RangeError) return explainRangeError(error);
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  const known = ERROR_CODES.find((one) => one === code) ?? "backend";
  const text = typeof message === "string" ? message : `backend: a device must throw errors, got ${describe(error)}.`;
  return new TeError(known, text, { cause: error });
}

/** Whether an error says that calls are nested deeper than the stack of the thread. */
export const isStackOverflow = (error: unknown): boolean =>
  error instanceof RangeError && error.message.includes("call stack");

/** Node throws a RangeError for arrays that are too long or that memory does not hold, for a full stack, and for much else. */
function explainRangeError(error: RangeError): TeError {
  if (isStackOverflow(error)) {
    const wayOut = "Write a loop where a function calls itself, and flatter trees of arguments.";
    const message = `stack: functions and trees must not nest deeper than the stack holds, but ${error.message}. ${wayOut}`;
    return new TeError("state", message, { cause: error });
  }
  if (/allocation failed|invalid (typed )?array|maximum size exceeded/i.test(error.message)) {
    const message = `memory: every tensor must fit into memory, but ${error.message}. Split the work, or free tensors.`;
    return new TeError("memory", message, { cause: error });
  }
  return new TeError("backend", error.message, { cause: error });
}
