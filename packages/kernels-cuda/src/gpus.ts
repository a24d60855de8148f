/** The GPUs of this machine by the names of their devices: "cuda", and "cuda:1", "cuda:2" … for further ones. */
import { readdirSync } from "node:fs";
import type { LoadedCuda } from "./load.js";
import type { CudaDevice, NativeCuda } from "./native.js";
import { localRank } from "./world.js";

type Env = NodeJS.ProcessEnv;

/**
 * How many GPUs the system shows, without the driver: loading it takes a moment, and importing this package must not. The
 * emulator is one, or as many as TE_EMU_DEVICES says.
 */
export function countGpus(env: Env = process.env, folder = "/dev"): number {
  if (env.TE_CUDA_EMULATED) return Number(env.TE_EMU_DEVICES || 1);
  try {
    const names = readdirSync(folder);
    // Under Windows' subsystem for Linux there is one file, whatever the number of GPUs.
    return names.filter((name) => /^nvidia\d+$/.test(name)).length || Number(names.includes("dxg"));
  } catch {
    return 0;
  }
}

/** The number of the GPU that "cuda" is, as text: TE_CUDA_DEVICE, or of processes that were started together one each. */
function wanted(count: number, env: Env): string {
  if (env.TE_CUDA_DEVICE) return env.TE_CUDA_DEVICE;
  const local = localRank(env);
  return isNumber(local) && count > 0 ? String(Number(local) % count) : "0";
}

const isNumber = (text: string): boolean => /^(0|[1-9]\d{0,3})$/.test(text);

/** Names of the devices that `count` GPUs are, "cuda" first: it is there even where no GPU is, to say why. */
export function gpuNames(count: number, env: Env = process.env): string[] {
  const text = wanted(count, env);
  const first = isNumber(text) ? Number(text) : 0;
  const others = Array.from({ length: count }, (_, i) => i).filter((i) => i !== first);
  return ["cuda", ...others.map((i) => `cuda:${i}`)];
}

/** The GPU that a name stands for, or in a sentence without a full stop why it cannot be used. */
export function findGpu(
  loaded: LoadedCuda,
  name: string,
  env: Env = process.env,
): { readonly native: NativeCuda; readonly gpu: CudaDevice } | { readonly reason: string } {
  if ("reason" in loaded) return loaded;
  const { reason, devices } = loaded.cudaAvailable();
  if (devices.length === 0) return { reason: reason ?? "there is no GPU" };
  const text = name === "cuda" ? wanted(devices.length, env) : name.slice("cuda:".length);
  const gpu = isNumber(text) ? devices.find(({ ordinal }) => ordinal === Number(text)) : undefined;
  if (gpu) return gpu.reason ? { reason: gpu.reason } : { native: loaded, gpu };
  const rule =
    devices.length === 1 ? "0, the number of the only GPU" : `the number of a GPU, 0 to ${devices.length - 1}`;
  return { reason: name === "cuda" ? `TE_CUDA_DEVICE must be ${rule}, got "${text}"` : `there is no GPU ${text}` };
}
