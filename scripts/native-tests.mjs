// The tests of native code, built and run with every instruction set that this processor has.
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join, relative } from "node:path";
import { become, INTERRUPTED } from "./become.mjs";
import { call, root, say } from "./setup/shell.mjs";

/** The instruction sets that kernels are compiled for and this processor has. */
function instructionSets() {
  let flags = "";
  try {
    flags = readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    // Not Linux: the lowest runs everywhere.
  }
  return [
    ["scalar", /^/],
    ["avx2", /\bavx2\b/],
    ["avx512", /\bavx512bw\b/],
  ].flatMap(([name, flag]) => (flag.test(flags) ? [name] : []));
}

/**
 * Builds the tests of native/test, which reach what no op case does, in native/<folder>, and runs each with every
 * instruction set of the processor. Gives their numbers, or undefined when Ctrl-C ended them.
 */
export async function nativeTests(folder, { env } = {}) {
  const build = join(root, "native", folder);
  say("Building the tests of native/test (once, a minute or a few)…");
  const log = join(build, "te-tests.log");
  if (
    call("cmake", ["--build", build, "--parallel", String(availableParallelism()), "--target", "te_tests"], { log }) !==
    0
  ) {
    say(`The native tests did not build; see ${relative(root, log)}.`);
    return { passed: 0, failed: 1 };
  }
  const sets = instructionSets();
  const failed = [];
  let passed = 0;
  const names = readdirSync(join(root, "native/test")).filter((file) => file.endsWith("_test.cc"));
  for (const name of names.map((file) => basename(file, ".cc"))) {
    for (const TE_CPU_ISA of sets) {
      const code = await become(join(build, name), [], { env: { TE_TIMES: "0", ...env, TE_CPU_ISA } });
      if (code === INTERRUPTED) return undefined;
      if (code === 0) passed++;
      else failed.push(`${name} (${TE_CPU_ISA})`);
    }
  }
  say(`Native tests on ${sets.join(", ")}: ${passed} passed${failed.length ? `, failed: ${failed.join(", ")}` : ""}.`);
  return { passed, failed: failed.length };
}
