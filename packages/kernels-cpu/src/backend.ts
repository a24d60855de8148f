/** The CPU as a device of @te/tensor. */
import { type Backend, nativeBackend } from "@te/tensor/backend";
import { warnOnce } from "@te/tensor/op";
import type { Native } from "./native.js";

/** Says what was wrong with the settings, and describes what runs. */
export function cpuBackend(native: Native): Backend {
  const { isa, threads, oneDNN, problems } = native.info();
  for (const problem of problems) warnOnce(problem);
  const description = `oneDNN ${oneDNN} and ${isa} kernels, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  return nativeBackend({ name: "cpu", description, native });
}
