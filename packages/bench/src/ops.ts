/** Every op's bench cases, and the shapes of a layer, against copy bandwidth and the best product. */
import "@te/transformer";
import { dispatchCost } from "@te/kernels-cpu";
import { applyOp, type Case, CaseBuilder, definedOps, type OpDefinition } from "@te/tensor/op";
import { Inputs } from "./fill.js";
import { type Machine, machine, Peak } from "./machine.js";
import { kernelMs, round } from "./timing.js";

export interface OpRow {
  readonly op: string;
  readonly case: string;
  readonly ms: number;
  readonly gbps?: number;
  /** Of a copy from memory to memory. */
  readonly copyShare?: number;
  /** Of a copy that moves as many bytes as the case and so sits in the same caches. */
  readonly sameSizeShare?: number;
  readonly gflops?: number;
  /** Of the fastest product that holds the operands exactly. */
  readonly peakShare?: number;
}

export interface OpsReport {
  readonly machine: Machine;
  readonly peak: { readonly float32: number; readonly bfloat16: number };
  /** Read plus written, between mapped buffers larger than the caches. */
  readonly copyGbps: number;
  /** Nanoseconds of the calling thread for one native run call and the release of its result: the best of many batches. */
  readonly dispatchNs: number;
  readonly rows: readonly OpRow[];
}

/** Over all cases, so that each meets the machine at several moments, as the copies and products it is held against do. */
const PASSES = 3;

export async function benchOps({
  only,
  log = (_: string) => {},
}: {
  only?: string | undefined;
  log?: (line: string) => void;
} = {}): Promise<OpsReport> {
  const peak = new Peak().measure(1).measureCopy(0.5);
  const inputs = new Inputs();
  const samples = [...definedOps().values()].filter((op) => !only || op.name === only).flatMap(samplesOf);
  let dispatchNs = Number.POSITIVE_INFINITY;
  for (let pass = 1; pass <= PASSES; pass++) {
    for (const sample of samples) {
      await measure(sample, inputs, peak);
      log(`${pass} of ${PASSES}: ${sample.op.name}: ${sample.case.name}`);
    }
    dispatchNs = Math.min(dispatchNs, dispatchCost());
  }
  const { float32, bfloat16 } = peak.measure(0.1).products;
  return {
    machine: machine(),
    peak: { float32: round(float32, 4), bfloat16: round(bfloat16, 4) },
    copyGbps: round(peak.copy(), 4),
    dispatchNs: Math.round(dispatchNs),
    rows: samples.map((sample) => row(sample, peak)),
  };
}

/** What was measured of a case; shares follow when all peaks are known. */
interface Sample {
  readonly op: OpDefinition;
  readonly case: Case;
  ms: number;
}

const samplesOf = (op: OpDefinition): Sample[] =>
  (op.cases?.(new CaseBuilder()) ?? [])
    .filter((c) => c.bench)
    .map((c) => ({ op, case: c, ms: Number.POSITIVE_INFINITY }));

async function measure(sample: Sample, inputs: Inputs, peak: Peak): Promise<void> {
  const { op, case: c } = sample;
  const names = op.variadic ? Object.keys(c.inputs) : [...op.inputs, ...(op.optional ?? [])];
  const tensors = inputs.of(names, c);
  sample.ms = Math.min(sample.ms, await kernelMs(() => applyOp(op, tensors, { ...op.params, ...c.params })));
  const { bytes } = c.bench!;
  if (bytes) peak.measureCopy(0.03).measureCopy(0.03, bytes);
}

function row({ op, case: c, ms }: Sample, peak: Peak): OpRow {
  const { bytes, flops } = c.bench!;
  const gbps = bytes && bytes / ms / 1e6;
  const gflops = flops && flops / ms / 1e6;
  return {
    op: op.name,
    case: c.name,
    ms: round(ms),
    ...(gbps && {
      gbps: round(gbps),
      copyShare: round(gbps / peak.copy(), 2),
      sameSizeShare: round(gbps / peak.copy(bytes), 2),
    }),
    ...(gflops && { gflops: round(gflops), peakShare: round(gflops / peak.best(multiplied(op, c)), 2) }),
  };
}

/** The format that products of a case run in: that of its first input. Others, such as statistics and scales, are not multiplied. */
const multiplied = (op: OpDefinition, c: Case) =>
  c.inputs[op.inputs[0]!]!.dtype === "float32" ? "float32" : "bfloat16";
