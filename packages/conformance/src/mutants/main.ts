/**
 * npm run -s mutants [-- --only TEXT]. Plants each mistake of the list, runs the tests that should see it and prints the
 * one that does. The files of the working tree are not touched. Exit 1 where a mistake is not caught, or is no mistake any
 * more because its text is gone.
 */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { readArgs } from "@te/testkit/command-line";
import { applyEdit } from "../../../../scripts/mutant.js";
import { root, runTests } from "../run-tests.js";
import { CUDA, type CudaMutant } from "./cuda.js";
import type { Mutant } from "./mutant.js";
import { MUTANTS } from "./mutants.js";
import { NATIVE, type NativeMutant } from "./native.js";
import { buildCuda, checkNative, hasCudaHeaders, runNative } from "./native-build.js";

const { values } = readArgs("mutants", "npm run mutants -- [--only TEXT]", { options: { only: { type: "string" } } });

interface Verdict {
  readonly caught: boolean;
  /** The test that failed, or what went wrong. */
  readonly why: string;
}

async function judge({ name: _, tests, ...edit }: Mutant): Promise<Verdict> {
  try {
    applyEdit(readFileSync(join(root, edit.file), "utf8"), edit);
    const env = { TE_MUTANT: JSON.stringify(edit), TE_KERNELS: "off" };
    const results = await runTests(tests, { bail: true, env });
    const failed = results.find(({ passed }) => !passed);
    return failed
      ? { caught: true, why: `${failed.file}: ${failed.title}` }
      : { caught: false, why: `${results.length} tests of ${tests.join(", ")} pass` };
  } catch (error) {
    return { caught: false, why: (error as Error).message };
  }
}

async function judgeNative(mutant: NativeMutant): Promise<Verdict> {
  try {
    const why = await runNative(mutant);
    return why ? { caught: true, why: `${mutant.test}: ${why}` } : { caught: false, why: `${mutant.test} passes` };
  } catch (error) {
    return { caught: false, why: (error as Error).message };
  }
}

/** Runs op cases on the emulator, whose checker looks at every access. */
async function runCuda(mutant: CudaMutant | undefined, titles: string): Promise<Verdict> {
  const env = { TE_NATIVE_DIR: await buildCuda(mutant), TE_CUDA_EMULATED: "checked" };
  const results = await runTests(["kernels-cuda/ops"], { bail: true, titles, env });
  const failed = results.find(({ passed }) => !passed);
  if (failed) return { caught: true, why: `${failed.file}: ${failed.title}: ${failed.message}` };
  if (results.length === 0) throw new Error(`no case is called ${titles}`);
  return { caught: false, why: `${results.length} cases of ${titles} pass` };
}

async function judgeCuda(mutant: CudaMutant): Promise<Verdict> {
  try {
    return await runCuda(mutant, mutant.cases);
  } catch (error) {
    return { caught: false, why: (error as Error).message };
  }
}

/** Throws unless the cases pass without a mistake. */
async function checkCuda(titles: string): Promise<void> {
  const { caught, why } = await runCuda(undefined, titles);
  if (caught) throw new Error(`a case fails without a mistake: ${why}`);
}

const named = ({ name }: { readonly name: string }) => name.includes(values.only ?? "");
const chosen = MUTANTS.filter(named);
const native = process.env.TE_KERNELS === "off" ? [] : NATIVE.filter(named);
const cuda = process.env.TE_KERNELS === "off" || !hasCudaHeaders() ? [] : CUDA.filter(named);
const waiting = [...chosen];
const survivors: string[] = [];

function report({ name }: { readonly name: string }, { caught, why }: Verdict): void {
  if (!caught) survivors.push(name);
  console.log(`${caught ? "caught  " : "SURVIVED"}  ${name}  →  ${why}`);
}

/** Takes one mutant after the other. */
async function work(): Promise<void> {
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    report(next, await judge(next));
  }
}
await Promise.all(Array.from({ length: Math.min(availableParallelism(), 4) }, work));

// One after the other: they share a build.
for (const test of new Set(native.map(({ test }) => test))) await checkNative(test);
for (const next of native) report(next, await judgeNative(next));
if (cuda.length > 0) await checkCuda([...new Set(cuda.map(({ cases }) => cases))].join("|"));
for (const next of cuda) report(next, await judgeCuda(next));

const all = chosen.length + native.length + cuda.length;
console.log(`mutants: ${all - survivors.length} of ${all} caught`);
process.exitCode = survivors.length === 0 && all > 0 ? 0 : 1;
