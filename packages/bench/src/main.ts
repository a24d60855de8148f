/** npm run -s bench -- layer|ops|step|reference [--json] [--op NAME]. With --json stdout holds one JSON object and nothing else. */
import { readArgs } from "@te/testkit/command-line";
import { benchLayer } from "./layer.js";
import { benchOps } from "./ops.js";
import { printReport } from "./print.js";
import { benchReference } from "./reference.js";
import { benchStep } from "./step.js";

const log = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

const { values, positionals } = readArgs("bench", "npm run bench -- layer|ops|step|reference [--json] [--op NAME]", {
  allowPositionals: true,
  options: { json: { type: "boolean" }, op: { type: "string" } },
});

const BENCHES: Record<string, () => Promise<object>> = {
  layer: () => benchLayer({ log }),
  ops: () => benchOps({ only: values.op, log }),
  step: () => benchStep({ log }),
  reference: () => benchReference({ log }),
};

const name = positionals[0] ?? "layer";
const run = BENCHES[name];
if (!run) {
  log(`bench: unknown bench "${name}". Use one of ${Object.keys(BENCHES).join(", ")}.`);
  process.exitCode = 2;
} else {
  const report = await run();
  if (values.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else printReport(report);
}
