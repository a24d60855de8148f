/** Every op's bench cases, and the shapes of a layer, against copy bandwidth and the best product. */
import "@te/transformer";
import { dispatchCost } from "@te/kernels-cpu";
import { applyOp, type Case, CaseBuilder, definedOps, type OpDefinition, type Tensor } from "@te/tensor";
import { fillArray, toTensor } from "@te/testkit";
import { type Machine, machine, Peak } from "./machine.js";
import { best, kernelMs, onNative, round, timeOnce } from "./timing.js";

export interface OpRow {
  readonly op: string;
  readonly case: string;
  readonly ms: number;
  readonly gbps?: number;
  /** Of copy bandwidth. */
  readonly copyShare?: number;
  readonly gflops?: number;
  /** Of the best product of the dtype. */
  readonly peakShare?: number;
}

export interface OpsReport {
  readonly machine: Machine;
  readonly peak: { readonly float32: number; readonly bfloat16: number };
  readonly copyGbps: number;
  /** Nanoseconds that one native run call takes on the calling thread. */
  readonly dispatchNs: number;
  readonly rows: readonly OpRow[];
}

const ROUNDS = 7;

export async function benchOps({
  only,
  log = (_: string) => {},
}: {
  only?: string | undefined;
  log?: (line: string) => void;
} = {}): Promise<OpsReport> {
  const peak = new Peak().measure(1).measureCopy(1);
  const rows: OpRow[] = [];
  for (const op of definedOps().values()) {
    if (only && op.name !== only) continue;
    for (const c of op.cases?.(new CaseBuilder()) ?? []) {
      if (!c.bench) continue;
      peak.measureCopy(0.1);
      rows.push(await benchCase(op, c, peak));
      log(`${op.name}: ${c.name}`);
    }
  }
  const { float32, bfloat16 } = peak.products;
  return {
    machine: machine(),
    peak: { float32: round(float32, 4), bfloat16: round(bfloat16, 4) },
    copyGbps: round(peak.copy, 4),
    dispatchNs: Math.round(dispatchCost()),
    rows,
  };
}

async function benchCase(op: OpDefinition, c: Case, peak: Peak): Promise<OpRow> {
  const names = [...op.inputs, ...(op.optional ?? [])];
  const inputs = names.map((name, i) =>
    c.inputs[name] ? toTensor(fillArray(c.inputs[name], `${c.name} ${i}`)) : undefined,
  );
  const params = { ...op.params, ...c.params };
  const call = (): Tensor[] => applyOp(op, inputs, params);
  const samples: number[] = [];
  for (let i = 0; i < ROUNDS; i++) samples.push(onNative() ? await kernelMs(call) : await timeOnce(call));
  const ms = best(samples.slice(1));
  const wide = Object.values(c.inputs).some((fill) => fill.dtype === "float32") && !op.name.startsWith("scaled");
  const gbps = c.bench!.bytes && c.bench!.bytes / ms / 1e6;
  const gflops = c.bench!.flops && c.bench!.flops / ms / 1e6;
  for (const t of inputs) t?.dispose();
  return {
    op: op.name,
    case: c.name,
    ms: round(ms),
    ...(gbps && { gbps: round(gbps), copyShare: round(gbps / peak.copy, 2) }),
    ...(gflops && {
      gflops: round(gflops),
      peakShare: round(gflops / peak.products[wide ? "float32" : "bfloat16"], 2),
    }),
  };
}
