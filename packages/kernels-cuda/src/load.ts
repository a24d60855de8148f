/** The native addon te_cuda.node: what it offers, where it may be, and why it could not be loaded. */
import { buildFolders, findBeside, findInstalled, foldersOf, loadAddon, wantsKernels } from "@te/tensor/backend";
import { lacking, type NativeCuda } from "./native.js";

const FILE = "te_cuda.node";
/** The same kernels on the emulator, by TE_CUDA_EMULATED: for tests on machines without a GPU. */
const EMULATED: Readonly<Record<string, string>> = { "1": "te_cuda_emulated.node", checked: "te_cuda_checked.node" };
const PACKAGES: Readonly<Record<string, string>> = { "linux-x64": "@te/kernels-cuda-linux-x64-cuda13" };

export type LoadedCuda = NativeCuda | { readonly reason: string };

/**
 * Finds and loads te_cuda.node in TE_NATIVE_DIR, this repository's build, beside this file or the bundle that holds it, or
 * the platform package. Never throws.
 */
export function loadCuda(env: NodeJS.ProcessEnv = process.env): LoadedCuda {
  if (!wantsKernels(env)) return { reason: "TE_KERNELS=off" };
  const file = EMULATED[env.TE_CUDA_EMULATED ?? ""] ?? FILE;
  const own = foldersOf({ url: import.meta.url, filename: () => __filename });
  const folders = env.TE_NATIVE_DIR ? [env.TE_NATIVE_DIR] : [...buildFolders(own, "kernels-cuda"), ...own];
  const name = PACKAGES[`${process.platform}-${process.arch}`];
  const path = findBeside(folders, file) ?? (name && !env.TE_NATIVE_DIR ? findInstalled(own, name) : undefined);
  if (!path) return { reason: notFound(file, env.TE_NATIVE_DIR, name) };
  try {
    const native = loadAddon(path) as NativeCuda;
    const missing = lacking(native);
    return missing ? { reason: `${path} was built for another version: it has no function ${missing}` } : native;
  } catch (error) {
    return { reason: `${path} does not load: ${firstLine(error)}` };
  }
}

function notFound(file: string, asked: string | undefined, name: string | undefined): string {
  if (asked) return `${file} does not exist in ${asked} (from TE_NATIVE_DIR)`;
  return name
    ? `${name} is not installed, and there is no build of ${file}`
    : `there are no CUDA kernels for ${process.platform}-${process.arch}`;
}

const firstLine = (error: unknown): string => (error instanceof Error ? error.message : String(error)).split("\n")[0]!;
