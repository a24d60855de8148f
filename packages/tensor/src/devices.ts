/** The devices of this process: which there are, and which one runs programs now. */
import type { Backend, MemoryStats } from "./backend.js";
import { fail, TeError } from "./errors.js";
import { expectFunction, expectString } from "./expect.js";
import { withDefaults } from "./options.js";
import { wantsKernels, warnOnce } from "./settings.js";

/** `unexpected`: the machine has such a device, and it cannot be used; whoever gets another one instead is told. */
type Absent = { readonly reason: string; readonly unexpected?: boolean };
type Factory = () => Backend | Absent;

interface Registered {
  readonly contract: number;
  readonly priority: number | undefined;
  readonly factory: Factory;
}

/**
 * Devices of every copy of this package that was loaded: a bundle holds one, and packages with native code are often left
 * outside of it with another. Copies share them when they agree on Backend, Program and all that these refer to; a change
 * there raises CONTRACT.
 */
interface SharedDevices {
  readonly factories: Map<string, readonly Registered[]>;
  changes: number;
}
const CONTRACT = 2;
const KEY = Symbol.for("te.devices");
const world = globalThis as { [KEY]?: SharedDevices };
world[KEY] ??= { factories: new Map(), changes: 0 };
const shared = world[KEY];

/** What this copy registered, which comes before what others did under the same name. */
const own = new Map<string, Registered>();
const backends = new Map<string, Backend | Absent>();
/** What runs programs now: chosen by name, or taken for want of a choice when the shared devices were `seen`. */
let chosen: Backend | undefined;
let byName = false;
let seen = -1;

/** Options of {@link registerBackend}. */
export interface RegisterOptions {
  /**
   * Where nobody chooses a device, the available one of the highest priority is taken. The one of the lowest is the
   * fallback: it runs every op, and is taken without a word where TE_KERNELS=off. The reference has 0, the CPU 10, a GPU 20.
   * A device without a priority is taken by name only.
   */
  readonly priority?: number | undefined;
}

/**
 * Makes a device known. The factory runs when the device is first asked for; a reason instead of a backend means absent.
 * Where the machine has such a device and it cannot be used, `unexpected` has the reason said when another is taken instead.
 */
export function registerBackend(name: string, factory: Factory, options: RegisterOptions = {}): void {
  expectString("registerBackend", { name });
  expectFunction("registerBackend", { factory });
  const { priority } = withDefaults("registerBackend", options, { priority: undefined as number | undefined });
  if (priority !== undefined && !Number.isFinite(priority))
    fail("option", "registerBackend", "priority must be a finite number", priority);
  const registered = { contract: CONTRACT, priority, factory };
  own.set(name, registered);
  shared.factories.set(name, [registered, ...(shared.factories.get(name) ?? [])]);
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
  const all = shared.factories.get(name) ?? [];
  const fitting = all.filter(({ contract }) => contract === CONTRACT);
  const answers: Absent[] = [];
  for (const { factory } of new Set([own.get(name) ?? [], fitting].flat())) {
    const found = factory();
    if (isBackend(found)) return found;
    answers.push(found);
  }
  if (answers.length > 0) return answers[0]!;
  if (all.length === 0) return { reason: `no package registered the device "${name}"` };
  const versions = `by contract ${all[0]!.contract}, and this one goes by ${CONTRACT}`;
  return { reason: `another version of @te/tensor registered the device "${name}" ${versions}: install one version` };
}

const isBackend = (found: Backend | Absent): found is Backend => "compile" in found;

/** Names of the devices that are taken without being named, those of the highest priority first. */
function byPriority(): string[] {
  const ranked: { name: string; priority: number }[] = [];
  for (const [name, all] of shared.factories) {
    const found = own.get(name) ?? all.find(({ contract }) => contract === CONTRACT);
    if (found?.priority !== undefined) ranked.push({ name, priority: found.priority });
  }
  return ranked.sort((a, b) => b.priority - a.priority).map(({ name }) => name);
}

/** The devices known to this process, with the reason where one is not available. */
export function devices(): { name: string; available: boolean; description: string }[] {
  return [...shared.factories.keys()].map((name) => {
    const found = resolve(name);
    return isBackend(found)
      ? { name, available: true, description: found.description }
      : { name, available: false, description: found.reason };
  });
}

/** Chooses the device by name; "auto" takes the fastest that is available. */
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
  const names = byPriority();
  const fallback = names.pop();
  if (fallback === undefined)
    return fail("backend", "currentBackend", "no device is registered", undefined, "Import @te/tensor itself.");
  const reasons: string[] = [];
  const unusable: string[] = [];
  for (const name of wantsKernels() ? names : []) {
    const found = resolve(name);
    if (isBackend(found)) {
      for (const reason of unusable) warnOnce(`${reason}; using "${name}"`);
      return found;
    }
    reasons.push(found.reason);
    if (found.unexpected) unusable.push(`"${name}" is not available: ${found.reason}`);
  }
  if (wantsKernels()) {
    // Those of another version have no rank here, and are a reason too.
    for (const [name, all] of shared.factories)
      if (all.every(({ contract }) => contract !== CONTRACT)) reasons.push((resolve(name) as Absent).reason);
    const nothing =
      'nothing imported @te/kernels-cpu, as @te/layers does. Solutions: (1) import "@te/kernels-cpu"; ' +
      "(2) set TE_KERNELS=off to use the reference without this message";
    warnOnce(`native kernels are not available: ${reasons.join("; ") || nothing}; using the slow reference`);
  }
  return expectBackend(fallback);
}

function expectBackend(name: string): Backend {
  const found = resolve(name);
  return isBackend(found)
    ? found
    : fail("backend", "currentBackend", `the device "${name}" must be there`, found.reason);
}

/** The device that runs every op: that of the lowest priority. */
export const fallbackBackend = (): Backend => expectBackend(byPriority().at(-1) ?? "reference");

let spread: ((device: Backend) => Backend) | undefined;

/**
 * Has programs run on what `over` makes of the chosen device: how they are split over the devices of a mesh. It is asked for
 * every program, and must give the same object where it means the same. There is one such function.
 */
export function spreadPrograms(over: (device: Backend) => Backend): void {
  expectFunction("spreadPrograms", { over });
  spread = over;
}

/** The device that programs run on now: its name, one line about it, and what @te/tensor/backend says of devices. */
export function currentBackend(): Backend {
  if (chosen === undefined || (seen !== shared.changes && !byName)) chosen = automatic();
  return spread ? spread(chosen) : chosen;
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
