/**
 * Every case of every op on a device, without a test runner: for machines that have nothing but Node.js.
 *   cases.mjs --device cuda --out FILE [--ops layer_norm,softmax] [--seconds N] [--sample N]
 * FILE is written as it goes on, and holds what passed, what failed and what had no kernel. With --sample every Nth case runs,
 * and it is no failure when the time does not suffice for all of these.
 */
import "@te/kernels-cpu";
import "@te/kernels-cuda";
import "@te/fp8";
import "@te/layers";
import "@te/optim";
import "@te/transformer";
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { currentBackend, setDevice } from "@te/tensor";
import { type Case, CaseBuilder, definedOps, type OpDefinition } from "@te/tensor/op";
import { runCase } from "../../packages/testkit/src/run-case.js";
import { declinedOps } from "../../packages/testkit/src/support.js";

const text = { type: "string" } as const;
const { values } = parseArgs({ options: { device: text, out: text, ops: text, seconds: text, sample: text } });
const { device = "cuda", out = "cases.json" } = values;
const only = values.ops?.split(",");
const end = performance.now() + 1000 * Number(values.seconds ?? "Infinity");

setDevice(device);

interface Found {
  readonly op: string;
  readonly case: string;
  readonly why: string;
}

const report = {
  device: currentBackend().description,
  passed: 0,
  failed: [] as Found[],
  withoutKernel: [] as Found[],
  /** Cases that the time did not suffice for. */
  left: 0,
};
const save = (): void => writeFileSync(out, `${JSON.stringify(report, null, 1)}\n`);

async function judge(op: OpDefinition, of: Case): Promise<void> {
  for (const { op: lacking, why } of declinedOps(device, op, of))
    report.withoutKernel.push({ op: lacking, case: `${op.name}: ${of.name}`, why });
  try {
    await runCase(op, of);
    report.passed++;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    report.failed.push({ op: op.name, case: of.name, why });
    console.log(`failed: ${op.name}: ${of.name}: ${why}`);
  }
}

const ops = [...definedOps().values()].filter(({ name, transparent, barrier }) =>
  only ? only.includes(name) : !transparent && !barrier,
);
const all = ops
  .flatMap((op) => (op.cases?.(new CaseBuilder()) ?? []).filter((one) => !one.bench).map((of) => ({ op, of })))
  .filter((_, i) => i % Number(values.sample ?? 1) === 0);
let saved = performance.now();
for (const [i, { op, of }] of all.entries()) {
  if (performance.now() > end) {
    report.left = all.length - i;
    break;
  }
  await judge(op, of);
  if (performance.now() - saved < 2000) continue;
  save();
  saved = performance.now();
}
save();
console.log(`${report.passed} passed, ${report.failed.length} failed, ${report.left} left, on ${report.device}`);
const isCut = report.left > 0 && values.sample === undefined;
process.exitCode = report.failed.length > 0 || report.passed === 0 || isCut ? 1 : 0;
