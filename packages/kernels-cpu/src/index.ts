/** @te/kernels-cpu: importing it makes the device "cpu" known to @te/tensor, where native kernels are to be had. */
import { type KernelTiming, profileKernels, registerBackend } from "@te/tensor/backend";
import { expectFunction, fail, warnOnce } from "@te/tensor/op";
import { cpuBackend } from "./backend.js";
import { type Loaded, loadNative } from "./load.js";
import type { NativeInfo } from "./native.js";

let loaded: Loaded | undefined;
const load = (): Loaded => (loaded ??= loadNative());

registerBackend(
  "cpu",
  () => {
    const found = load();
    return "native" in found ? cpuBackend(found.native) : found;
  },
  { priority: 10 },
);

/** What the kernels run on, or the reason why there are none. */
export function cpuInfo():
  | ({ readonly available: true } & NativeInfo)
  | { readonly available: false; readonly reason: string } {
  const found = load();
  return "native" in found ? { available: true, ...found.native.info() } : { available: false, reason: found.reason };
}

/**
 * Sets the number of threads of programs compiled from now on; cpuInfo().threads is what is used. More than four for each
 * processor (or 64), or than the system lets start, are not used, and a line on stderr says so.
 */
export function setThreads(count: number): void {
  if (!Number.isSafeInteger(count) || count < 1)
    fail("option", "setThreads", "count must be an integer from 1 up", count, "cpuInfo().threads is what is used now.");
  const found = load();
  if (!("native" in found)) return;
  const used = found.native.setThreads(Math.min(count, 2 ** 30));
  if (used < count) warnOnce(`setThreads: ${count} threads are more than can be had; ${used} are used.`);
}

/** Runs `body` and returns the time of every kernel that ran meanwhile, in order. Empty without native kernels. */
export async function profile(body: () => void | Promise<void>): Promise<KernelTiming[]> {
  expectFunction("profile", { body });
  const found = load();
  if ("native" in found) return profileKernels(found.native, body);
  await body();
  return [];
}

export type { KernelTiming } from "@te/tensor/backend";
export { type Loaded, loadNative } from "./load.js";
export { collectiveTime, copyBandwidth, dispatchCost, productPeak, readBandwidth } from "./measure.js";
export type { Native, NativeInfo } from "./native.js";
