/** A GPU as a device of @te/tensor. */
import { type Backend, nativeBackend } from "@te/tensor/backend";
import { loadCuda } from "./load.js";

/** The backend of the GPU of this ordinal, or why there is none. */
export function cudaBackend(ordinal: number): Backend | { readonly reason: string } {
  const native = loadCuda();
  if ("reason" in native) return native;
  const { available, reason, devices } = native.cudaAvailable();
  const device = devices.find((one) => one.ordinal === ordinal);
  if (!available || !device) return { reason: reason ?? `there is no GPU ${ordinal}` };
  if (device.reason) return { reason: device.reason };
  const { name, computeCapability } = device;
  const description = `${name}, compute capability ${computeCapability}`;
  return nativeBackend({ name: ordinal === 0 ? "cuda" : `cuda:${ordinal}`, description, native: native.open(ordinal) });
}
