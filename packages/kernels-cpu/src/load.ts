import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Native } from "./native.js";

export type Loaded = { readonly native: Native; readonly path: string } | { readonly reason: string };

const PACKAGES: Readonly<Record<string, string>> = { "linux-x64": "@te/kernels-cpu-linux-x64-gnu" };

/** Where this repository's own build is, seen from src/ and from dist/. */
const REPOSITORY = fileURLToPath(new URL("../../../native/build", import.meta.url));

const require = createRequire(import.meta.url);

/**
 * Finds and loads te_cpu.node: the folder in TE_NATIVE_DIR, this repository's build, the platform package. The first that
 * exists is taken; one that exists and does not load is named in the reason. Never throws.
 */
export function loadNative({
  env = process.env,
  repository = REPOSITORY,
}: {
  env?: NodeJS.ProcessEnv;
  repository?: string;
} = {}): Loaded {
  if (env.TE_KERNELS === "off") return { reason: "TE_KERNELS=off" };
  const problems: string[] = [];
  const folder = env.TE_NATIVE_DIR;
  if (folder) {
    const path = join(folder, "te_cpu.node");
    // What was asked for by name is not silently replaced by something else.
    return (
      tryLoad(path, problems) ?? explain(existsSync(path) ? problems : [`${path} (from TE_NATIVE_DIR) does not exist`])
    );
  }
  const built = join(repository, "te_cpu.node");
  if (existsSync(built)) return tryLoad(built, problems) ?? explain(problems);
  const name = PACKAGES[`${process.platform}-${process.arch}`];
  if (!name) {
    const known = Object.keys(PACKAGES).join(", ");
    return explain([`there are kernels for ${known}, not for ${process.platform}-${process.arch}`]);
  }
  let path: string;
  try {
    path = require.resolve(name);
  } catch {
    return explain([`${name} is not installed`]);
  }
  return tryLoad(path, problems) ?? explain(problems);
}

function tryLoad(path: string, problems: string[]): Loaded | undefined {
  try {
    return { native: patiently(() => require(path) as Native), path };
  } catch (error) {
    problems.push(`${path} does not load: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

/**
 * Loads with a short spin of OpenMP's waiting threads (about 50 µs), which libgomp reads when it is loaded. Its default
 * spins for milliseconds: on a machine with other work, such as the JavaScript thread itself, steps take ten times longer.
 */
function patiently<T>(load: () => T): T {
  if (process.env.GOMP_SPINCOUNT !== undefined || process.env.OMP_WAIT_POLICY !== undefined) return load();
  process.env.GOMP_SPINCOUNT = "1000";
  try {
    return load();
  } finally {
    delete process.env.GOMP_SPINCOUNT;
  }
}

function explain(problems: readonly string[]): Loaded {
  const solutions = [
    "in an application, install again with optional dependencies (npm install --include=optional)",
    "in the repository, run npm run native and read what it says",
    "set TE_NATIVE_DIR to a folder that holds te_cpu.node",
    "set TE_KERNELS=off to use the reference without this message",
  ];
  return {
    reason: `${problems.join("; ")}. Solutions: ${solutions.map((text, i) => `(${i + 1}) ${text}`).join("; ")}`,
  };
}
