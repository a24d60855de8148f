// `npm run pack:gpu`: a folder that checks and measures a GPU on a machine without Node.js, npm and network.
//   node scripts/pack-gpu.mjs [folder]            default: out/gpu
//   node scripts/pack-gpu.mjs [folder] --built    what native/build holds, without building first
//   node scripts/pack-gpu.mjs [folder] --bare     without native code and Node.js: run.sh takes those of this machine
// There: bash run.sh OUT (see scripts/gpu/run.sh).
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { stageAddon } from "../native/npm/pack.mjs";
import { buildNative } from "./setup/native.mjs";
import { ask, root, say } from "./setup/shell.mjs";

/** What has to fit into one transfer, in MiB. */
const LIMIT = 60;

const PROGRAMS = { cases: "scripts/gpu/cases.ts", train: "scripts/gpu/train.ts", bench: "packages/bench/src/main.ts" };
const FILES = ["scripts/gpu/run.sh", "scripts/gpu/peers.py"];

/** Makes the folder. Returns the exit code. */
export async function packGpu(args) {
  const bare = args.includes("--bare");
  const folder = resolve(args.find((arg) => !arg.startsWith("--")) ?? join(root, "out/gpu"));
  if (!bare && !args.includes("--built") && !buildNative()) return 1;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [name, source] of Object.entries(PROGRAMS)) bundle(join(root, source), join(folder, `${name}.mjs`));
  for (const file of FILES) cpSync(join(root, file), join(folder, file.split("/").at(-1)));
  packAbi(folder);
  writeFileSync(join(folder, "commit"), `${ask("git", ["-C", root, "rev-parse", "--short", "HEAD"]) ?? "unknown"}\n`);
  if (!bare && !packNative(folder)) return 1;
  const size = sizeOf(folder) / 2 ** 20;
  say(`${folder}: ${size.toFixed(1)} MiB. On the GPU machine: bash run.sh OUT`);
  if (size <= LIMIT) return 0;
  say(`It must be at most ${LIMIT} MiB.`);
  return 1;
}

/** One file with all of the packages in it. */
function bundle(entry, outfile) {
  const flags = ["--bundle", "--platform=node", "--format=esm", "--conditions=@te/source", "--minify-syntax"];
  execFileSync(
    join(root, "node_modules/.bin/esbuild"),
    [entry, ...flags, `--outfile=${outfile}`, "--log-level=warning"],
    {
      stdio: "inherit",
    },
  );
}

/** Our declarations of cuBLASLt and what compares them with NVIDIA's, which only the other machine has. */
function packAbi(folder) {
  const files = ["cuda/gemm/cublaslt.h", "test/cuda/cublaslt_abi_test.cc"].filter((file) =>
    existsSync(join(root, "native", file)),
  );
  for (const file of files) cpSync(join(root, "native", file), join(folder, "abi", file));
}

/** Node.js, stripped, and the addons with their libraries, in one archive. */
function packNative(folder) {
  const stage = mkdtempSync(join(tmpdir(), "te-gpu-"));
  try {
    for (const addon of ["te_cuda.node", "te_cpu.node"]) {
      const path = join(root, "native/build", addon);
      if (!existsSync(path)) {
        say(`native/build/${addon} is not there: nvcc 13 is needed to build te_cuda.node.`);
        return false;
      }
      stageAddon(path, stage);
    }
    cpSync(process.execPath, join(stage, "node"), { dereference: true });
    execFileSync("strip", [join(stage, "node")]);
    const files = readdirSync(stage);
    execFileSync("tar", ["-cJf", join(folder, "native.tar.xz"), "-C", stage, ...files], {
      env: { ...process.env, XZ_OPT: "-T0 -6" },
    });
    return true;
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

const sizeOf = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href)
  process.exitCode = await packGpu(process.argv.slice(2));
