/**
 * npm run -s fuzz -- [--calls N] [--seed S] [--jobs J] [--limit SECONDS] [--only INDEX] [--sanitize]. Calls everything with
 * wrong arguments, runs random programs on every device and damages files. Exit 1 where a call crashed, hung, raised an
 * error that does not help, or where devices differ.
 */
import { availableParallelism } from "node:os";
import { readArgs } from "@te/testkit/command-line";
import { type Finding, runSession } from "./session.js";

const USAGE = "npm run fuzz -- [--calls N] [--seed S] [--jobs J] [--limit SECONDS] [--only INDEX] [--sanitize]";
const { values } = readArgs("fuzz", USAGE, {
  options: {
    calls: { type: "string", default: "10000" },
    seed: { type: "string", default: "1" },
    jobs: { type: "string", default: String(Math.min(availableParallelism(), 8)) },
    limit: { type: "string" },
    only: { type: "string" },
    sanitize: { type: "boolean", default: false },
  },
});

/** An argument that counts something, or the end with a sentence. */
function count(name: string, text: string, least: number): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= least) return number;
  process.stderr.write(`fuzz: --${name} must be an integer of at least ${least}, got ${text}\nUse ${USAGE}.\n`);
  process.exit(2);
}

const only = values.only === undefined ? undefined : count("only", values.only, 0);
const calls = only === undefined ? count("calls", values.calls, 1) : 1;
const seed = count("seed", values.seed, 0);
const limit = count("limit", values.limit ?? (values.sanitize ? "240" : "10"), 1);
const SHOWN = 200;

const found: Finding[] = [];
const start = performance.now();
let said = 0;
const sanitize = values.sanitize ? " --sanitize" : "";

await runSession({
  seed,
  from: only ?? 0,
  calls,
  jobs: only === undefined ? count("jobs", values.jobs, 1) : 1,
  limit,
  memory: values.sanitize ? 0 : 3072,
  verbose: only !== undefined,
  env: JSON.parse(process.env.TE_FUZZ_ENV ?? "{}"),
  onFinding(finding) {
    found.push(finding);
    if (found.length > SHOWN) return;
    const { kind, text, what, index } = finding;
    console.log(`${kind}: ${text}\n    ${what}\n    npm run fuzz -- --seed ${seed} --only ${index}${sanitize}`);
  },
  onProgress(done) {
    const seconds = (performance.now() - start) / 1000;
    if (seconds - said < 10) return;
    said = seconds;
    console.log(`${done} of ${calls} calls after ${seconds.toFixed(0)} s, ${found.length} findings`);
  },
});

const of = (kind: Finding["kind"]): number => found.filter((finding) => finding.kind === kind).length;
const seconds = (performance.now() - start) / 1000;
console.log(
  `fuzz: ${calls} calls with seed ${seed} in ${seconds.toFixed(0)} s: ${of("crash")} crashes, ${of("hang")} hangs, ` +
    `${of("error")} wrong errors, ${of("mismatch")} mismatches`,
);
process.exitCode = found.length === 0 ? 0 : 1;
