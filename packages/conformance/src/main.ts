/**
 * npm run -s conformance [-- --json | --write | --check]. Runs the cases and prints a table, or one JSON object on stdout.
 * --write makes docs/conformance.md of it, --check fails where that file says something else. Exit 1 where a parameter has
 * no case or a case fails.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { presentDevices } from "@te/testkit";
import { readArgs } from "@te/testkit/command-line";
import { toMarkdown, toText } from "./print.js";
import { makeReport } from "./report.js";
import { root } from "./run-tests.js";

const { values } = readArgs("conformance", "npm run conformance -- [--json | --write | --check]", {
  options: { json: { type: "boolean" }, write: { type: "boolean" }, check: { type: "boolean" } },
});
const log = (line: string): void => void process.stderr.write(`${line}\n`);

if (!presentDevices().includes("cpu")) {
  log("conformance: the native kernels are needed: unset TE_KERNELS and run npm run native.");
  process.exit(1);
}
log("conformance: running the cases; this takes minutes");
const report = await makeReport();
const file = join(root, "docs/conformance.md");
const markdown = toMarkdown(report);
process.stdout.write(`${values.json ? JSON.stringify(report, null, 1) : toText(report)}\n`);

const isGood = report.uncovered.length === 0 && report.failing.length === 0;
for (const item of values.json ? report.uncovered : []) log(`uncovered: ${item}`);
if (values.write && isGood) writeFileSync(file, markdown);
const isStale = values.check && (!existsSync(file) || readFileSync(file, "utf8") !== markdown);
if (isStale) log("conformance: docs/conformance.md is stale. Run npm run conformance -- --write and commit it.");
process.exitCode = isGood && !isStale ? 0 : 1;
