/**
 * Makes the calls of a stretch of indices, one after the other. Before each one its index and text go into the file that
 * the parent reads when this process dies or hangs; what is wrong goes to the parent as messages.
 */
import { spawnSync } from "node:child_process";
import { openSync, readFileSync, writeSync } from "node:fs";
import { chdir } from "node:process";
import { setDevice } from "@te/tensor";
import { Draw } from "./draw.js";
import { drawCall } from "./draw-call.js";
import type { Finding, Stretch } from "./session.js";
import { findFault } from "./verdict.js";

const RECORD = 4096;

/**
 * Sizes that the machine almost has would take minutes and its other processes; beyond the limit they end in an error at
 * once. Linux only: elsewhere there is no limit.
 */
function limitMemory(mebibytes: number): void {
  if (mebibytes === 0 || process.platform !== "linux") return;
  const now = Number(/VmSize:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]);
  spawnSync("prlimit", ["--pid", String(process.pid), `--as=${(now + mebibytes * 1024) * 1024}`]);
}

export async function runStretch({ seed, from, to, folder, memory, verbose }: Stretch): Promise<void> {
  chdir(folder);
  limitMemory(memory);
  const record = openSync(`${folder}/now`, "w");
  let index = from;
  let text = "";
  const report = (kind: Finding["kind"], what: string): void => {
    process.send?.({ index, kind, text, what } satisfies Finding);
  };
  for (const event of ["unhandledRejection", "uncaughtException"])
    process.on(event, (error) => {
      const fault = findFault(error);
      report("error", `an error that nobody could catch: ${fault ?? (error as Error).message}`);
    });
  for (; index < to; index++) {
    setDevice("auto");
    const draw = new Draw(seed, index);
    if (draw.chance(0.3)) setDevice("reference");
    text = "";
    let outcome = "a result";
    try {
      const call = drawCall(draw);
      text = call.text;
      writeSync(record, `${index}\n${text.slice(0, RECORD / 4)}\n`.padEnd(RECORD), 0);
      if (index === planted.index) await plant();
      const found = await call.run();
      if (found) report("mismatch", found);
    } catch (error) {
      const fault = text ? findFault(error) : `the fuzzer itself: ${(error as Error).stack}`;
      if (fault) report("error", fault);
      outcome = String(error);
    }
    if (verbose) process.stderr.write(`${index} ${text}\n  → ${outcome}\n`);
  }
  writeSync(record, "done".padEnd(RECORD), 0);
}

const [how = "", where = "-1"] = (process.env.TE_FUZZ_PLANT ?? "").split(" ");
const planted = { how, index: Number(where) };

/** What a test of the fuzzer plants at a call, so that it can see that it is found. */
async function plant(): Promise<void> {
  if (planted.how === "crash") process.abort();
  if (planted.how === "hang") for (;;);
  if (planted.how === "error") throw new TypeError("planted");
}

process.once("message", (stretch: Stretch) => {
  runStretch(stretch).then(() => process.exit(0));
});
