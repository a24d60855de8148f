/** The demo's train step: time, memory, and how much of the time no kernel runs. */
import {
  createTrainer,
  DEMO_MODEL,
  disposeAll,
  PRECISIONS,
  type Precision,
  trainingFlopsPerToken,
} from "@te/example-char-lm";
import { profile } from "@te/kernels-cpu";
import { currentBackend, makeProgram, memory, random } from "@te/tensor";
import { type NodeSpec, type Program, planMemory, runPasses } from "@te/tensor/backend";
import { type Machine, machine, Peak } from "./machine.js";
import { median, round, settle } from "./timing.js";

export interface StepRow {
  readonly precision: string;
  /** Whether the layers compute their values again in the backward pass. */
  readonly checkpoint: boolean;
  readonly ms: number;
  readonly tokensPerSecond: number;
  readonly gflops: number;
  /** Of the fastest product that holds the operands exactly. */
  readonly peakShare: number;
  /** Highest memory of tensors during a step, and the step's arena. */
  readonly peakBytes: number;
  readonly arenaBytes: number;
  /** Share of a step's time in which no kernel runs. */
  readonly outsideKernels: number;
}

export interface StepReport {
  readonly machine: Machine;
  readonly model: typeof DEMO_MODEL & { readonly batch: number; readonly vocabulary: number };
  readonly peak: { readonly float32: number; readonly bfloat16: number };
  readonly rows: readonly StepRow[];
}

const BATCH = 4;
const VOCABULARY = 96;
const WARM_UP = 2;
const STEPS = 6;

export async function benchStep({ log = (_: string) => {} } = {}): Promise<StepReport> {
  const peak = new Peak().measure(0.5);
  const rows: StepRow[] = [];
  for (const precision of PRECISIONS) {
    for (const checkpoint of [false, true]) {
      rows.push(await benchPrecision(precision, checkpoint, peak));
      peak.measure(0.3);
      log(`${precision.name}${checkpoint ? ", checkpoint" : ""}`);
    }
  }
  const { float32, bfloat16 } = peak.products;
  return {
    machine: machine(),
    model: { ...DEMO_MODEL, batch: BATCH, vocabulary: VOCABULARY },
    peak: { float32: round(float32, 4), bfloat16: round(bfloat16, 4) },
    rows,
  };
}

/** Bytes of the arena that a program needs on this device; that of the device has the size of its largest program. */
export function arenaOf(program: Program): number {
  const backend = currentBackend();
  const supports = (node: NodeSpec): true | string => backend.supports(node);
  return planMemory(runPasses(runPasses(program, supports), supports, backend.passes ?? [])).arenaBytes;
}

async function benchPrecision(precision: Precision, checkpoint: boolean, peak: Peak): Promise<StepRow> {
  const config = { ...DEMO_MODEL, vocabulary: VOCABULARY, checkpoint };
  const trainer = createTrainer(config, precision, { steps: 100, seed: 0 });
  const tokens = random.randint(random.key(1), [BATCH, config.sequence + 1], 0, VOCABULARY);
  let state = trainer.start();
  const arenaBytes = arenaOf(makeProgram(trainer.step)(state, tokens));
  const step = async (): Promise<number> => {
    const start = performance.now();
    const [next, loss] = trainer.step(state, tokens);
    state = next;
    await settle(loss);
    loss.dispose();
    return performance.now() - start;
  };
  for (let i = 0; i < WARM_UP; i++) await step();
  currentBackend().resetPeak();
  const samples: number[] = [];
  const kernels = await profile(async () => {
    for (let i = 0; i < STEPS; i++) samples.push(await step());
  });
  const { peak: tensors } = memory();
  disposeAll(state);
  const busy = kernels.reduce((sum, t) => sum + t.ns, 0) / 1e6;
  const wall = samples.reduce((a, b) => a + b, 0);
  const ms = median(samples);
  const perStep = BATCH * config.sequence;
  const gflops = (trainingFlopsPerToken(config) * perStep) / ms / 1e6;
  return {
    precision: precision.name,
    checkpoint,
    ms: round(ms, 4),
    tokensPerSecond: Math.round((perStep / ms) * 1e3),
    gflops: round(gflops, 4),
    peakShare: round(gflops / peak.best(precision.dtype)),
    peakBytes: tensors + arenaBytes,
    arenaBytes,
    outsideKernels: round(Math.max(0, 1 - busy / wall)),
  };
}
