/** GPT-2 124M: the train step with AdamW against the best product, and decoding against one reading of the weights. */
import {
  createOptimizer,
  createState,
  createTrainStep,
  PRECISIONS,
  type Precision,
  trainingFlopsPerToken,
} from "@te/example-char-lm";
import { readBandwidth } from "@te/kernels-cpu";
import { currentBackend, makeProgram, memory, random } from "@te/tensor";
import { DECODE_FORMATS, type DecodeFormat, decoder } from "./gpt2-decode.js";
import { GPT2, Gpt2 } from "./gpt2-model.js";
import { type Machine, machine, Peak } from "./machine.js";
import { arenaOf } from "./step.js";
import { best, disposeAll, median, round, settle } from "./timing.js";

export interface TrainRow {
  readonly precision: string;
  /** Of a step: the median, and the best. */
  readonly ms: number;
  readonly least: number;
  readonly tokensPerSecond: number;
  /** The median's GFLOP/s as a share of the fastest product that holds the operands exactly. */
  readonly peakShare: number;
  /** Highest memory of tensors during a step, and the step's arena. */
  readonly peakBytes: number;
}

export interface DecodeRow {
  readonly weights: DecodeFormat;
  /** Of a token: the median, and the best. */
  readonly ms: number;
  readonly least: number;
  /** What a token reads of the weights. */
  readonly weightBytes: number;
  /** GB/s of reading as many bytes by all threads. */
  readonly readGbps: number;
  /** Time of that reading divided by the median. */
  readonly boundShare: number;
}

export interface Gpt2Report {
  readonly machine: Machine;
  readonly model: typeof GPT2 & { readonly batch: number };
  readonly peak: { readonly float32: number; readonly bfloat16: number };
  readonly train: readonly TrainRow[];
  readonly decode: readonly DecodeRow[];
}

/** How much is measured. */
interface Pace {
  readonly batch: number;
  readonly steps: number;
  readonly tokens: number;
  /** Of the yardsticks before each row. */
  readonly seconds: number;
}

const PACE: Pace = { batch: 4, steps: 8, tokens: 48, seconds: 0.5 };
const WARM_UP = 2;

export async function benchGpt2({
  model = GPT2,
  pace = PACE,
  log = (_: string) => {},
}: {
  model?: typeof GPT2;
  pace?: Pace;
  log?: (line: string) => void;
} = {}): Promise<Gpt2Report> {
  const peak = new Peak();
  const samples: [Precision, number[], number][] = [];
  for (const precision of PRECISIONS) {
    peak.measure(pace.seconds);
    samples.push([precision, ...(await timeTraining(model, precision, pace))]);
    log(`train step, ${precision.name}`);
  }
  const decode: DecodeRow[] = [];
  for (const weights of DECODE_FORMATS) {
    decode.push(await timeDecoding(model, weights, pace));
    log(`decode, ${weights}`);
  }
  const { float32, bfloat16 } = peak.products;
  const train = samples.map(([{ name, dtype }, times, peakBytes]): TrainRow => {
    const ms = median(times);
    const tokens = pace.batch * model.sequence;
    const gflops = (trainingFlopsPerToken(model) * tokens) / ms / 1e6;
    return {
      precision: name,
      ms: round(ms, 4),
      least: round(best(times), 4),
      tokensPerSecond: Math.round((tokens / ms) * 1e3),
      peakShare: round(gflops / peak.best(dtype)),
      peakBytes,
    };
  });
  return {
    machine: machine(),
    model: { ...model, batch: pace.batch },
    peak: { float32: round(float32, 4), bfloat16: round(bfloat16, 4) },
    train,
    decode,
  };
}

/** Times of whole steps, and bytes at their peak. The loss has to fall on a batch that is seen again. */
async function timeTraining(
  model: typeof GPT2,
  precision: Precision,
  { batch, steps }: Pace,
): Promise<[times: number[], peakBytes: number]> {
  const network = new Gpt2(model, precision.dtype);
  const optimizer = createOptimizer(100);
  const step = createTrainStep(network, precision, optimizer);
  const tokens = random.randint(random.key(1), [batch, model.sequence + 1], 0, model.vocabulary);
  let state = createState(network, precision, optimizer, random.key(0));
  const arenaBytes = arenaOf(makeProgram(step)(state, tokens));
  const losses: number[] = [];
  const times: number[] = [];
  for (let i = 0; i < WARM_UP + steps; i++) {
    if (i === WARM_UP) currentBackend().resetPeak();
    const start = performance.now();
    const [next, loss] = step(state, tokens);
    state = next;
    losses.push(await loss.item());
    if (i >= WARM_UP) times.push(performance.now() - start);
    loss.dispose();
  }
  const peakBytes = memory().peak + arenaBytes;
  disposeAll([state, tokens]);
  if (!(losses.at(-1)! < losses[0]!)) throw new Error(`the loss must fall, and went ${losses.join(", ")}`);
  return [times, peakBytes];
}

/** Tokens one after another, each drawn from the logits of the one before. */
async function timeDecoding(model: typeof GPT2, weights: DecodeFormat, { tokens, seconds }: Pace): Promise<DecodeRow> {
  const { step, weightBytes, dispose } = decoder(model, weights, WARM_UP + tokens);
  let readGbps = readBandwidth(seconds, weightBytes);
  const times: number[] = [];
  for (let i = 0; i < WARM_UP + tokens; i++) {
    const start = performance.now();
    await settle(step());
    if (i >= WARM_UP) times.push(performance.now() - start);
  }
  dispose();
  readGbps = Math.max(readGbps, readBandwidth(seconds, weightBytes));
  const ms = median(times);
  return {
    weights,
    ms: round(ms, 4),
    least: round(best(times), 4),
    weightBytes,
    readGbps: round(readGbps),
    boundShare: round(weightBytes / readGbps / 1e6 / ms),
  };
}
