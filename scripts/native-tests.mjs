// The tests of native code, built and run: with every instruction set that this processor has, and CUDA's on the emulator.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, relative } from "node:path";
import { become, INTERRUPTED } from "./become.mjs";
import { ARM64_LIBRARIES, qemu } from "./setup/arm64.mjs";
import { call, root, say } from "./setup/shell.mjs";

/** The instruction sets of each processor's kernels, and what /proc/cpuinfo calls them. */
const SETS = {
  x64: [
    ["scalar", /^/],
    ["avx2", /\bavx2\b/],
    ["avx512", /\bavx512bw\b/],
    ["avx512_bf16", /\bavx512_bf16\b/],
    ["amx", /\bamx_bf16\b/],
  ],
  arm64: [
    ["scalar", /^/],
    ["neon", /\basimd\b/],
    ["neon_bf16", /\bbf16\b/],
  ],
};

/** The instruction sets that kernels are compiled for and this processor has. */
function instructionSets() {
  let flags = "";
  try {
    flags = readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    // Not Linux: the lowest runs everywhere.
  }
  return (SETS[process.arch] ?? [["scalar", /^/]]).flatMap(([name, flag]) => (flag.test(flags) ? [name] : []));
}

/** Builds targets of tests in native/<folder>; says where to look if that fails. */
function buildTests(folder, ...targets) {
  const log = join(root, "native", folder, "te-tests.log");
  const parallel = ["--parallel", String(availableParallelism())];
  const code = call("cmake", ["--build", join(root, "native", folder), ...parallel, "--target", ...targets], { log });
  if (code !== 0) say(`The native tests did not build; see ${relative(root, log)}.`);
  return code === 0;
}

/** The tests of a folder of native/: their names, and what they are written in. */
function testsIn(folder) {
  const path = join(root, "native", folder);
  const files = existsSync(path) ? readdirSync(path) : [];
  return files.flatMap((file) => {
    const [, name, language] = /^(.*_test)\.(cc|cu)$/.exec(file) ?? [];
    return name ? [{ name, language }] : [];
  });
}

/** Sets above the levels that all kernels are compiled for, and the level whose functions they share. */
const LEVELS = { avx512_bf16: "avx512", amx: "avx512", neon_bf16: "neon" };

/** The target of a test for an instruction set: some call functions of kernels and are compiled as these are. */
function targetOf(name, set) {
  const level = LEVELS[set] ?? set;
  const text = readFileSync(join(root, "native/test", `${name}.cc`), "utf8");
  return level !== "scalar" && /^\/\/ te: on every level$/m.test(text) ? `${name}_${level}` : name;
}

/** Runs programs one after another. Gives their numbers and a line about them, or undefined when Ctrl-C ended them. */
async function runAll(what, programs) {
  const failed = [];
  for (const { name, path, env, under } of programs) {
    const code = await (under ? become(under, [path], { env }) : become(path, [], { env }));
    if (code === INTERRUPTED) return undefined;
    if (code !== 0) failed.push(name);
  }
  const passed = programs.length - failed.length;
  say(`${what}: ${passed} passed${failed.length ? `, failed: ${failed.join(", ")}` : ""}.`);
  return { passed, failed: failed.length };
}

/**
 * Builds the tests of native/test, which reach what no op case does, in native/<folder>, and runs each with every
 * instruction set of the processor. Gives their numbers, or undefined when Ctrl-C ended them.
 */
export async function nativeTests(folder, { env } = {}) {
  say("Building the tests of native/test (once, a minute or a few)…");
  if (!buildTests(folder, "te_tests")) return { passed: 0, failed: 1 };
  const sets = instructionSets();
  const programs = testsIn("test").flatMap(({ name }) =>
    sets.map((TE_CPU_ISA) => ({
      name: `${name} (${TE_CPU_ISA})`,
      path: join(root, "native", folder, targetOf(name, TE_CPU_ISA)),
      env: { TE_TIMES: "0", ...env, TE_CPU_ISA },
    })),
  );
  return runAll(`Native tests on ${sets.join(", ")}`, programs);
}

/** The processors that qemu-user stands for: without products of bfloat16 matrices, and with them. */
const ARM64 = [
  { QEMU_CPU: "cortex-a72", sets: ["scalar", "neon"], tests: /^/ },
  { QEMU_CPU: "max", sets: ["neon_bf16"], tests: /^(attention|bfloat16_unit|dot)_test$/ },
];

/** What a quick look takes: a minute of processor time. */
const ARM64_QUICK = [
  { QEMU_CPU: "cortex-a72", sets: ["neon"], tests: /^(dot_pack|math|softmax|quantize)_test$/ },
  { QEMU_CPU: "max", sets: ["neon_bf16"], tests: /^bfloat16_unit_test$/ },
];

/**
 * Builds the tests of native/test for arm64 in native/<folder>, and runs each under qemu-user: with every instruction set, those
 * that multiply bfloat16 also on a processor that has instructions for it. Gives their numbers, or undefined when Ctrl-C ended them.
 */
export async function arm64Tests(folder, { quick = false } = {}) {
  say("Building the tests of native/test for arm64 (once, a minute or a few)…");
  const names = testsIn("test").map(({ name }) => name);
  const programs = (quick ? ARM64_QUICK : ARM64).flatMap(({ QEMU_CPU, sets, tests }) =>
    names
      .filter((name) => tests.test(name))
      .flatMap((name) => sets.map((TE_CPU_ISA) => ({ test: name, QEMU_CPU, TE_CPU_ISA }))),
  );
  const targets = [...new Set(programs.map(({ test, TE_CPU_ISA }) => targetOf(test, TE_CPU_ISA)))];
  if (!buildTests(folder, ...targets)) return { passed: 0, failed: 1 };
  const command = qemu();
  return runAll(
    "Native tests on arm64 (qemu-user)",
    programs.map(({ test, ...chosen }) => ({
      name: `${test} (${chosen.TE_CPU_ISA})`,
      path: join(root, "native", folder, targetOf(test, chosen.TE_CPU_ISA)),
      under: command,
      env: { TE_TIMES: "0", QEMU_LD_PREFIX: ARM64_LIBRARIES, ...chosen },
    })),
  );
}

/** Whether native/<folder> has CUDA's kernels on the emulator; where not, a line says that their tests are skipped. */
export function hasEmulator(folder) {
  const cache = join(root, "native", folder, "CMakeCache.txt");
  const headers = existsSync(cache) && /^TE_CUDA_HEADERS:PATH=(\/.*)$/m.exec(readFileSync(cache, "utf8"));
  if (!headers) say("CUDA's headers (cuda_runtime_api.h) are not here: the tests of the emulated GPU are skipped.");
  return Boolean(headers);
}

/** Builds the tests of native/test/cuda in native/<folder> and runs each on the emulator; those with kernels under its checker too. */
export async function cudaTests(folder) {
  say("Building the tests of native/test/cuda (once, a minute or a few)…");
  if (!buildTests(folder, "te_cuda_tests")) return { passed: 0, failed: 1 };
  const programs = testsIn("test/cuda").flatMap(({ name, language }) =>
    [`cuda_${name}`, ...(language === "cu" ? [`cuda_${name}_checked`] : [])].map((program) => ({
      name: program,
      path: join(root, "native", folder, program),
    })),
  );
  return runAll("Native tests of CUDA on the emulator", programs);
}
