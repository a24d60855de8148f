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
import type { Mutant } from "./mutant.js";
import { MUTANTS } from "./mutants.js";

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

const chosen = MUTANTS.filter(({ name }) => name.includes(values.only ?? ""));
const waiting = [...chosen];
const survivors: string[] = [];

/** Takes one mutant after the other. */
async function work(): Promise<void> {
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    const { caught, why } = await judge(next);
    if (!caught) survivors.push(next.name);
    console.log(`${caught ? "caught  " : "SURVIVED"}  ${next.name}  →  ${why}`);
  }
}
await Promise.all(Array.from({ length: Math.min(availableParallelism(), 4) }, work));

console.log(`mutants: ${chosen.length - survivors.length} of ${chosen.length} caught`);
process.exitCode = survivors.length === 0 && chosen.length > 0 ? 0 : 1;
