// The build of the native code: made when its sources or tools changed, never a reason to stop.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, relative } from "node:path";
import { Worker } from "node:worker_threads";
import { alone, call, root, say, which } from "./shell.mjs";
import { compiler, installSystemPackages, oneDnnHeader } from "./system.mjs";

const native = join(root, "native");
// The addon's rpath must hold for the libraries of its libraries too, so that a platform package can bring all of them.
const always = ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_MODULE_LINKER_FLAGS=-Wl,--disable-new-dtags"];
const cores = String(availableParallelism());
// In tests of all: what is only slow or odd in a build is an error.
const strict = process.env.TE_CUDA_STRICT === "1";
const cost = "Running on the reference backend: the same numbers, a hundred times slower or more.";

/** The compute capabilities that a build holds machine code for, by TE_CUDA_ARCH: "90a" unless set, or a list such as "80,90a". */
function cudaArchitectures() {
  const text = process.env.TE_CUDA_ARCH || "90a";
  if (/^\d+[af]?(,\d+[af]?)*$/.test(text)) return text.split(",");
  say(`TE_CUDA_ARCH must be compute capabilities without their points, as in 80,90a, got "${text}"; 90a is taken.`);
  return ["90a"];
}

/** Those of the platform package, which holds the machine code of all GPUs from 8.0 on, and PTX for others. */
const everyGpu = ["80", "89", "90a", "100", "120"];

/**
 * Builds what a program needs that is run with these arguments: the kernels of the CPU; where a GPU is or is asked for, all.
 * Kernels of GPUs take longer to compile than all others, and tests alone need their emulator.
 */
export function buildFor(args) {
  const gpu = process.env.TE_CUDA_EMULATED || args.some((one) => /^(--device=)?(cuda|gpu)/.test(one)) || hasGpu();
  return buildNative(gpu ? {} : { targets: ["te_cpu"] });
}

const hasGpu = () => existsSync("/dev/nvidia0") || existsSync("/dev/dxg");

/** Builds te_cuda.node for every GPU, for its platform package. Gives the folder of the build, or undefined after saying why not. */
export function buildForEveryGpu() {
  if (!which("nvcc")) {
    say("te_cuda.node for all GPUs needs nvcc 13, which is not here.");
    return undefined;
  }
  const options = [`-DTE_CUDA_ARCH=${everyGpu.join(";")}`, "-DTE_CUDA_PTX=ON"];
  const isThere = buildNative({ folder: "build-pack", options, targets: ["te_cuda"], addon: "te_cuda.node" });
  return isThere ? join(native, "build-pack") : undefined;
}

/**
 * Builds native/ into native/<folder>, or these targets of it, unless its sources and tools are those of the last build.
 * Returns whether the native code is there.
 * Never throws: without native code everything runs on the reference, and one line says so.
 */
export function buildNative({ folder = "build", options = [], targets = [], addon = "te_cpu.node" } = {}) {
  if (process.env.TE_KERNELS === "off") return false;
  if (!options.some((option) => option.startsWith("-DTE_CUDA_ARCH")))
    options = [
      ...options,
      `-DTE_CUDA_ARCH=${cudaArchitectures().join(";")}`,
      `-DTE_CUDA_STRICT=${strict ? "ON" : "OFF"}`,
    ];
  const build = join(native, folder);
  // A build of everything serves whoever wants less.
  const serves = ({ targets: built = [] }) => built.length === 0 || String(built) === String(targets);
  const done = () => {
    const stamp = readStamp(build);
    return stamp?.hash === fingerprint(options) && serves(stamp) ? stamp : undefined;
  };
  const stamp =
    done() ??
    alone(() => {
      const before = done();
      if (before) return before;
      const lacking = findLacking();
      // After the tools are there, and before sources that are edited during the build could count as built.
      const hash = fingerprint(options);
      const result = { hash, targets, problem: lacking ?? configureAndBuild(build, { options, targets, addon }) };
      mkdirSync(build, { recursive: true });
      writeFileSync(join(build, ".te-stamp"), JSON.stringify(result));
      return result;
    });
  if (stamp.problem) say(`${stamp.problem} ${cost}`);
  return !stamp.problem;
}

/** Installs what can be installed. Returns what a build still lacks, as a sentence, or undefined. */
function findLacking() {
  if (process.platform !== "linux") return `No native kernels for ${process.platform} yet.`;
  const missing = installSystemPackages();
  return missing.length > 0 ? `No native kernels without ${missing.join(" and ")}.` : undefined;
}

/** Returns what went wrong, as a sentence, or undefined. */
function configureAndBuild(build, { options, targets, addon }) {
  say(`Building the native kernels in ${relative(root, build)} (once, a few minutes)…`);
  const log = join(build, "te-build.log");
  rmSync(log, { force: true });
  const wanted = targets.length > 0 ? ["--target", ...targets] : [];
  const make = (...more) => call("cmake", ["--build", build, "--parallel", cores, ...more], { log }) === 0;
  const progress = new Worker(new URL("build-progress.mjs", import.meta.url), {
    workerData: { log, live: process.stderr.isTTY === true },
  });
  const configured = configure(build, options, log);
  const built = configured && make(...wanted);
  // Where kernels of GPUs do not compile, those of the CPU are there all the same; in tests of all they must.
  const others = !built && configured && targets.length === 0 && !strict && make("--target", "te_cpu");
  progress.terminate();
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  if (others) say(`The kernels of NVIDIA GPUs did not build; see ${relative(root, log)}. Those of the CPU did.`);
  if ((built || others) && existsSync(join(build, addon))) return undefined;
  // An addon of an earlier build would not be that of these sources.
  rmSync(join(build, addon), { force: true });
  return `The native kernels did not build; see ${relative(root, log)}.`;
}

function configure(build, options, log) {
  const known = existsSync(join(build, "CMakeCache.txt"));
  const generator = !known && which("ninja") ? ["-G", "Ninja"] : [];
  const run = (extra) => call("cmake", ["-S", native, "-B", build, ...extra, ...always, ...options], { log }) === 0;
  if (run(generator)) return true;
  if (!known) return false;
  // A cache from another place or another CMake: start over once.
  rmSync(build, { recursive: true, force: true });
  return run(which("ninja") ? ["-G", "Ninja"] : []);
}

function readStamp(build) {
  try {
    return JSON.parse(readFileSync(join(build, ".te-stamp"), "utf8"));
  } catch {
    return undefined;
  }
}

/** Changes whenever a build could turn out differently: sources, options, compiler, libraries, and whether installing is allowed. */
function fingerprint(options) {
  const hash = createHash("sha256");
  const tools = ["cmake", "ninja", "nvcc", compiler() ?? "none"].map((name) => which(name));
  hash.update(
    JSON.stringify([
      always,
      options,
      tools,
      oneDnnHeader(),
      process.version,
      process.getuid?.(),
      process.env.TE_INSTALL,
    ]),
  );
  for (const path of sources(native)) hash.update(`\n${relative(native, path)}\n`).update(readFileSync(path));
  return hash.digest("hex");
}

function sources(folder) {
  return readdirSync(folder)
    .sort()
    .flatMap((name) => {
      const path = join(folder, name);
      if (folder === native && (name === "npm" || name.startsWith("build"))) return [];
      if (statSync(path).isDirectory()) return sources(path);
      return /\.(cc|cpp|cu|cuh|h|hpp|txt|cmake|json)$/.test(name) ? [path] : [];
    });
}
