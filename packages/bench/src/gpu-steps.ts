/** Whole steps on a GPU: a large transformer layer forward and backward, and the train step of a model of GPT-2's size. */
import {
  createTrainer,
  type ModelConfig,
  PRECISIONS,
  type Precision,
  trainingFlopsPerToken,
} from "@te/example-char-lm";
import { random, type Tensor, tree } from "@te/tensor";
import { judgeFinite } from "./gpu-judge.js";
import { type Pace, type Times, timeCalls } from "./gpu-timing.js";
import { layerGflop, type Shape, type Subject } from "./layer.js";
import { disposeAll } from "./timing.js";

export interface StepSizes {
  readonly layer: Shape;
  readonly model: ModelConfig;
  readonly batch: number;
}

export const STEP_SIZES: StepSizes = {
  layer: { batch: 8, sequence: 2048, hidden: 4096, mlp: 16384, heads: 32 },
  model: { vocabulary: 50304, layers: 12, hiddenSize: 768, mlpHiddenSize: 3072, heads: 12, sequence: 1024 },
  batch: 16,
};

export const SMALL_STEP_SIZES: StepSizes = {
  layer: { batch: 2, sequence: 16, hidden: 32, mlp: 64, heads: 2 },
  model: { vocabulary: 96, layers: 1, hiddenSize: 32, mlpHiddenSize: 64, heads: 2, sequence: 16 },
  batch: 2,
};

export const shapeOfLayer = ({ batch, sequence, hidden, heads, mlp }: Shape): string =>
  `hidden ${hidden}, MLP ${mlp}, ${heads} heads, batch ${batch}, sequence ${sequence}, causal`;

/** Operations of the layer, of whose attention a half is hidden. */
export function layerFlops(shape: Shape): number {
  const { batch, sequence, hidden } = shape;
  const attention = (3 * 2 * 2 * batch * sequence * sequence * hidden) / 1e9;
  return (layerGflop(shape) - attention / 2) * 1e9;
}

/** The layer's forward + backward pass. */
export async function timeLayer(dtype: string, { forwardBackward }: Subject, pace: Pace): Promise<Times> {
  const results = forwardBackward();
  const leaves = tree.leaves(results) as Tensor[];
  await judgeFinite(`the layer in ${dtype}`, leaves);
  disposeAll(results);
  return timeCalls(forwardBackward, pace);
}

export const shapeOfModel = ({ layers, hiddenSize, heads, sequence, vocabulary }: ModelConfig, batch: number): string =>
  `${layers} layers of ${hiddenSize}, ${heads} heads, vocabulary ${vocabulary}, batch ${batch}, sequence ${sequence}`;

export const MODEL_PRECISIONS: readonly Precision[] = PRECISIONS.filter(({ dtype }) => dtype === "bfloat16");

export const stepFlops = (config: ModelConfig, batch: number): number =>
  trainingFlopsPerToken(config) * batch * config.sequence;

/** A train step, optimizer included, whose state is donated. The loss has to fall on a batch that is seen again. */
export async function timeTrainStep({ model, batch }: StepSizes, precision: Precision, pace: Pace): Promise<Times> {
  const trainer = createTrainer(model, precision, { steps: 1000, seed: 0 });
  const tokens = random.randint(random.key(1), [batch, model.sequence + 1], 0, model.vocabulary);
  let state = trainer.start();
  const step = (): Tensor => {
    const [next, loss] = trainer.step(state, tokens);
    state = next;
    return loss;
  };
  const lossNow = async (): Promise<number> => {
    const loss = step();
    const value = await loss.item();
    loss.dispose();
    return value;
  };
  const first = await lossNow();
  const times = await timeCalls(step, pace);
  for (let i = 0; i < 20; i++) disposeAll(step());
  const last = await lossNow();
  disposeAll([state, tokens]);
  if (!(last < first)) throw new Error(`the loss must fall, and went from ${first} to ${last}`);
  return times;
}
