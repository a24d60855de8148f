/** The native addon te_cpu.node: where it may be, how it is loaded, and why it could not be. */
import { buildFolders, findBeside, findInstalled, foldersOf, loadAddon, wantsKernels } from "@te/tensor/backend";
import { type Defaults, expectStrings, withDefaults } from "@te/tensor/op";
import { lacking, type Native } from "./native.js";

export type Loaded = { readonly native: Native; readonly path: string } | { readonly reason: string };

export interface LoadOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** Where this file is, and where builds are. */
  readonly folders?: readonly string[];
  readonly builds?: readonly string[];
}

const DEFAULTS = { env: undefined, folders: undefined, builds: undefined } satisfies Defaults<LoadOptions>;
const FILE = "te_cpu.node";
const PACKAGES: Readonly<Record<string, string>> = {
  "linux-x64": "@te/kernels-cpu-linux-x64-gnu",
  "linux-arm64": "@te/kernels-cpu-linux-arm64-gnu",
};

/**
 * Finds and loads te_cpu.node: in the folder TE_NATIVE_DIR, in this repository's build, beside this file or the bundle that
 * holds it, in the platform package. The first that exists is taken; one that exists and does not load is named in the
 * reason. Throws for options that are wrong only.
 */
export function loadNative(options: LoadOptions = {}): Loaded {
  const { env = process.env, ...places } = withDefaults("loadNative", options, DEFAULTS);
  const { folders = foldersOf({ url: import.meta.url, filename: () => __filename }) } = places;
  expectStrings("loadNative", { folders });
  const { builds = buildFolders(folders, "kernels-cpu") } = places;
  expectStrings("loadNative", { builds });
  if (!wantsKernels(env)) return { reason: "TE_KERNELS=off" };
  if (env.TE_NATIVE_DIR) {
    // What was asked for by name is not silently replaced by something else.
    const named = findBeside([env.TE_NATIVE_DIR], FILE);
    return named ? tryLoad(named) : explain(`${FILE} does not exist in ${env.TE_NATIVE_DIR} (from TE_NATIVE_DIR)`);
  }
  const found = findBeside([...builds, ...folders], FILE);
  if (found) return tryLoad(found);
  const name = PACKAGES[`${process.platform}-${process.arch}`];
  if (!name) {
    const known = Object.keys(PACKAGES).join(", ");
    return explain(`there are kernels for ${known}, not for ${process.platform}-${process.arch}`);
  }
  const installed = findInstalled(folders, name);
  return installed
    ? tryLoad(installed)
    : explain(`${name} is not installed, nor is ${FILE} in ${folders.join(" or ")}`);
}

function tryLoad(path: string): Loaded {
  try {
    const native = loadAddon(path) as Native;
    const missing = lacking(native);
    if (missing) return explain(`${path} was built for another version: it has no function ${missing}`);
    return { native, path };
  } catch (error) {
    return explain(`${path} does not load: ${error instanceof Error ? error.message : error}`);
  }
}

function explain(problem: string): Loaded {
  const solutions = [
    "in an application, install again with optional dependencies (npm install --include=optional)",
    "in a bundle, copy the files of the platform package beside it",
    "in the repository, run npm run native and read what it says",
    `set TE_NATIVE_DIR to a folder that holds ${FILE}`,
    "set TE_KERNELS=off to use the reference without this message",
  ];
  return { reason: `${problem}. Solutions: ${solutions.map((text, i) => `(${i + 1}) ${text}`).join("; ")}` };
}
