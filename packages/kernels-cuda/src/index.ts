/** @te/kernels-cuda: says what CUDA offers here. Importing it never throws, whatever the machine lacks. */
import { type CudaAnswer, loadCuda } from "./load.js";

/** Whether kernels can run on a GPU of this machine, which GPUs there are, and otherwise the reason. */
export function cudaAvailable(): CudaAnswer {
  const native = loadCuda();
  return "reason" in native ? { available: false, reason: native.reason, devices: [] } : native.cudaAvailable();
}

export type { CudaAnswer, CudaDevice } from "./load.js";
