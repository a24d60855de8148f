/**
 * npm run -s conformance [-- --json | --write | --check | --device cuda]. Runs the cases and prints a table, or one JSON object on
 * stdout; with --device on that device, instead of the reference and the CPU.
 * --write makes docs/conformance.md of it, --check fails where that file says something else. Exit 1 where a parameter has
 * no case or a case fails.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { presentDevices } from "@te/testkit";
import { readArgs } from "@te/testkit/command-line";
import { toMarkdown, toText } from "./print.js";
import { makeReport } from "./report.js";
import { root, runOnBackends } from "./run-tests.js";

const { values } = readArgs("conformance", "npm run conformance -- [--json | --write | --check | --device cuda]", {
  options: {
    json: { type: "boolean" },
    write: { type: "boolean" },
    check: { type: "boolean" },
    device: { type: "string" },
  },
});
const { device } = values;
const log = (line: string): void => void process.stderr.write(`${line}\n`);

/** Ends the process where the device cannot be judged. */
async function expectDevice(): Promise<void> {
  const refuse = (why: string): never => {
    log(`conformance: ${why}`);
    process.exit(device === undefined ? 1 : 2);
  };
  if (device === undefined)
    return presentDevices().includes("cpu")
      ? undefined
      : refuse("the native kernels are needed: unset TE_KERNELS and run npm run native.");
  if (device !== "cuda") refuse(`--device must be cuda, got "${device}".`);
  if (values.write || values.check)
    refuse("docs/conformance.md is that of the reference and the CPU: leave --device out.");
  const { cudaInfo } = await import("@te/kernels-cuda");
  const info = cudaInfo();
  if (!info.available) refuse(`"cuda" is not available: ${info.reason}.`);
}

await expectDevice();
log("conformance: running the cases; this takes minutes");
const report = device ? await makeReport((files) => runOnBackends(files, device), [device]) : await makeReport();
const file = join(root, "docs/conformance.md");
const markdown = toMarkdown(report);
process.stdout.write(`${values.json ? JSON.stringify(report, null, 1) : toText(report)}\n`);

const isGood = report.uncovered.length === 0 && report.failing.length === 0;
for (const item of values.json ? report.uncovered : []) log(`uncovered: ${item}`);
if (values.write && isGood) writeFileSync(file, markdown);
const isStale = values.check && (!existsSync(file) || readFileSync(file, "utf8") !== markdown);
if (isStale) log("conformance: docs/conformance.md is stale. Run npm run conformance -- --write and commit it.");
process.exitCode = isGood && !isStale ? 0 : 1;
