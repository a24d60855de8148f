/** @te/kernels-cuda: importing it makes the device "cuda" known to @te/tensor, where a GPU and the kernels are to be had. */
import { registerBackend } from "@te/tensor/backend";
import { cudaBackend } from "./backend.js";
import { loadCuda } from "./load.js";
import type { CudaAnswer } from "./native.js";

registerBackend("cuda", () => cudaBackend(0), { priority: 20 });

/** Whether kernels can run on a GPU of this machine, which GPUs there are, and otherwise the reason. */
export function cudaAvailable(): CudaAnswer {
  const native = loadCuda();
  return "reason" in native ? { available: false, reason: native.reason, devices: [] } : native.cudaAvailable();
}

export type { CudaAnswer, CudaDevice } from "./native.js";
