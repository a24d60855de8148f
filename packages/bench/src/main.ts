/**
 * npm run -s bench -- layer|ops|step|gpt2|shapes|mesh|reference|gpu [--json]. With --json stdout holds one JSON object and nothing else.
 *   ops        --op NAME: this op alone
 *   ranking    the planner's order of meshes against that of runs on two and four processes
 *   gpu        --plan: estimates, without a GPU; --small: sizes for an emulator; --seconds N: stop measuring then; --out FILE:
 *              write the report there after each measurement
 */
import { writeFileSync } from "node:fs";
import { TeError } from "@te/tensor";
import { readArgs } from "@te/testkit/command-line";
import { benchGpt2 } from "./gpt2.js";
import { benchLayer } from "./layer.js";
import { benchMesh } from "./mesh.js";
import { benchOps } from "./ops.js";
import { printReport } from "./print.js";
import { benchRanking } from "./ranking.js";
import { benchReference } from "./reference.js";
import { benchShapes } from "./shapes.js";
import { benchStep } from "./step.js";

const log = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

const { values, positionals } = readArgs(
  "bench",
  "npm run bench -- layer|ops|step|gpt2|shapes|mesh|reference|gpu [--json]",
  {
    allowPositionals: true,
    options: {
      json: { type: "boolean" },
      op: { type: "string" },
      plan: { type: "boolean" },
      small: { type: "boolean" },
      seconds: { type: "string" },
      out: { type: "string" },
    },
  },
);

/** Loaded late: importing it makes a GPU the device that the other benches would run on. */
async function gpu(): Promise<object> {
  const { benchGpu, planGpu } = await import("./gpu.js");
  const { small = false, plan, out, seconds } = values;
  const save = (report: object): void => void (out && writeFileSync(out, `${JSON.stringify(report, null, 1)}\n`));
  if (!plan) return benchGpu({ small, log, save, ...(seconds && { seconds: Number(seconds) }) });
  const report = planGpu({ small });
  save(report);
  return report;
}

const BENCHES: Record<string, () => Promise<object>> = {
  layer: () => benchLayer({ log }),
  ops: () => benchOps({ only: values.op, log }),
  step: () => benchStep({ log }),
  gpt2: () => benchGpt2({ log }),
  shapes: () => benchShapes({ log }),
  mesh: () => benchMesh({ log }),
  reference: () => benchReference({ log }),
  ranking: () => benchRanking({ log }),
  gpu,
};

const name = positionals[0] ?? "layer";
const run = BENCHES[name];
if (!run) {
  log(`bench: unknown bench "${name}". Use one of ${Object.keys(BENCHES).join(", ")}.`);
  process.exitCode = 2;
} else {
  try {
    const report = await run();
    if (values.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    else printReport(report);
  } catch (error) {
    if (!(error instanceof TeError)) throw error;
    // What is missing, such as a GPU, is one sentence.
    log(`bench: ${error.message}`);
    process.exitCode = 1;
  }
}
