/** The model, its train step and its evaluation, each one jit program. */
import { DelayedScaling, Float8CurrentScaling, fp8Autocast, updateCollections } from "@te/fp8";
import type { Module, Variables } from "@te/layers";
import {
  adamw,
  applyUpdates,
  chain,
  clipByGlobalNorm,
  type GradientTransformation,
  warmupCosineDecaySchedule,
} from "@te/optim";
import { activeMesh } from "@te/sharding";
import { crossEntropy, jit, random, type Tensor, type Tree, tree, valueAndGrad, zeros } from "@te/tensor";
import { CharModel, type ModelConfig } from "./model.js";

/** How a run computes. Parameters and the optimizer's state are float32 in all of them. */
export interface Precision {
  /** For people and for file names. */
  readonly name: string;
  /** Of the activations. */
  readonly dtype: "float32" | "bfloat16";
  /** How the layers multiply in FP8, if they do: with delayed or with current scaling. */
  readonly recipe: "none" | "delayed" | "current";
}

export const PRECISIONS: readonly Precision[] = [
  { name: "float32", dtype: "float32", recipe: "none" },
  { name: "bfloat16", dtype: "bfloat16", recipe: "none" },
  { name: "bfloat16 + FP8", dtype: "bfloat16", recipe: "delayed" },
];

const RECIPES = {
  none: null,
  delayed: new DelayedScaling({ amaxHistoryLen: 16 }),
  current: new Float8CurrentScaling(),
} as const;

/** Runs fn with the recipe of a precision in force. */
export const inPrecision = <R>({ recipe }: Precision, fn: () => R): R =>
  fp8Autocast({ enabled: recipe !== "none", fp8Recipe: RECIPES[recipe] }, fn);

/** What a step takes and gives: a tree of tensors that can be donated and saved. */
export interface TrainState {
  /** params and, in FP8, fp8_metas. */
  readonly variables: Variables;
  readonly optimizer: unknown;
}

/** (state, tokens int32 [B, S + 1]) → [next state, mean loss float32 []]. The state is donated. */
export type TrainStep = (state: TrainState, tokens: Tensor) => [state: TrainState, loss: Tensor];

/** A module whose `call(ids)` with int32 [B, S] gives logits [B, S, vocabulary]. */
export type LanguageModel = Module & { call(ids: Tensor): Tensor };

export const createModel = (config: ModelConfig, precision: Precision): CharModel =>
  new CharModel(config, precision.dtype);

/** AdamW with warm-up and cosine decay over `steps`; vectors, which are norms' scales and biases, do not decay. */
export function createOptimizer(steps: number): GradientTransformation {
  const learningRate = warmupCosineDecaySchedule({
    initValue: 3e-4,
    peakValue: 3e-3,
    warmupSteps: Math.ceil(steps / 10),
    decaySteps: steps + 1,
    endValue: 1e-4,
  });
  const matrices = (params: Tree<Tensor>) => tree.map((p) => p.rank > 1, params);
  return chain(clipByGlobalNorm(1), adamw({ learningRate, b2: 0.98, weightDecay: 0.05, mask: matrices }));
}

/** The first state. The same key gives the same parameters in every precision. */
export function createState(
  model: LanguageModel,
  precision: Precision,
  optimizer: GradientTransformation,
  key: Tensor,
): TrainState {
  // Few, but as many as a mesh can split.
  const devices = activeMesh()?.size ?? 1;
  const ids = zeros([devices, 2 * devices], { dtype: "int32" });
  const { params_axes: _, ...variables } = inPrecision(precision, () => model.init(key, ids));
  return { variables, optimizer: optimizer.init(variables.params) };
}

/** Mean loss in nats of predicting each of tokens[:, 1:] from those before it. */
function lossOf(model: LanguageModel, variables: Variables, tokens: Tensor): Tensor {
  const [batch, length] = tokens.shape as [number, number];
  const inputs = tokens.slice([0, 0], [batch, length - 1]);
  const targets = tokens.slice([0, 1], [batch, length]);
  return crossEntropy(model.apply(variables, inputs), targets).mean();
}

/** One optimizer step. The FP8 state comes out of the gradient as its new value and takes the place of the old. */
export function createTrainStep(
  model: LanguageModel,
  precision: Precision,
  optimizer: GradientTransformation,
): TrainStep {
  const differentiate = valueAndGrad((variables: Variables, tokens: Tensor) => lossOf(model, variables, tokens));
  const step = jit(
    (state: TrainState, tokens: Tensor): [TrainState, Tensor] => {
      const [loss, { params: gradients, ...metas }] = differentiate(state.variables, tokens);
      const [updates, next] = optimizer.update(gradients, state.optimizer, state.variables.params);
      const params = applyUpdates(state.variables.params, updates);
      return [{ variables: updateCollections({ ...metas, params }, state.variables), optimizer: next }, loss];
    },
    { donateArgnums: [0] },
  );
  return (state, tokens) => inPrecision(precision, () => step(state, tokens));
}

/** (variables, tokens int32 [B, S + 1]) → mean loss float32 []. */
export function createEvaluation(
  model: CharModel,
  precision: Precision,
): (variables: Variables, tokens: Tensor) => Tensor {
  const evaluate = jit((variables: Variables, tokens: Tensor) => lossOf(model, variables, tokens));
  return (variables, tokens) => inPrecision(precision, () => evaluate(variables, tokens));
}

export interface Trainer {
  readonly model: CharModel;
  readonly step: TrainStep;
  readonly evaluate: (variables: Variables, tokens: Tensor) => Tensor;
  readonly start: () => TrainState;
}

/** All of the above for a run of `steps` from a seed. */
export function createTrainer(
  config: ModelConfig,
  precision: Precision,
  { steps, seed }: { steps: number; seed: number },
): Trainer {
  const model = createModel(config, precision);
  const optimizer = createOptimizer(steps);
  return {
    model,
    step: createTrainStep(model, precision, optimizer),
    evaluate: createEvaluation(model, precision),
    start: () => createState(model, precision, optimizer, random.foldIn(random.key(seed), 0)),
  };
}

/** Frees the tensors of a tree. */
export function disposeAll(state: unknown): void {
  for (const leaf of tree.leaves(state)) leaf.dispose();
}
