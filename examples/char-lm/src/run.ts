/** One run: all steps of one precision, and the loss on held-out text. */
import { activeMesh } from "@te/sharding";
import type { Tensor } from "@te/tensor";
import { type Corpus, heldOutOffsets, trainingOffsets, windows } from "./data.js";
import { lieLike } from "./mesh.js";
import type { ModelConfig } from "./model.js";
import { createTrainer, disposeAll, type Precision, type Trainer, type TrainState } from "./train.js";

/** What a run is made of; equal settings give equal runs. */
export interface RunSettings {
  readonly model: ModelConfig;
  readonly precision: Precision;
  readonly batch: number;
  readonly steps: number;
  readonly seed: number;
  /** Random key that the offsets of all batches come from. */
  readonly key: Tensor;
}

/** Where a run stands between two steps. */
export interface RunProgress {
  readonly state: TrainState;
  /** Training loss of every step done. */
  readonly losses: readonly number[];
  /** Steps that were timed, and how long they took: all but the first after each start, which compiles. */
  readonly timedSteps: number;
  readonly timedSeconds: number;
}

export interface RunHooks {
  /** After step `step` (from 1), with its loss. */
  readonly onStep?: (step: number, loss: number) => void;
  /** Asked between steps; true ends the run there. Processes that run together all ask, and get one answer. */
  readonly interrupted?: () => boolean | Promise<boolean>;
}

export interface RunOutcome extends RunProgress {
  readonly trainer: Trainer;
  /** Mean loss on held-out text in nats, or undefined where the run was interrupted. */
  readonly heldOut: number | undefined;
}

/** Batches of held-out text that are looked at after training. */
const HELD_OUT_BATCHES = 48;

/** Lets signals and timers through: a backend that computes on this thread leaves no other gap. */
const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Trains from the start or from where `from` stands. The state of `from` is used up. */
export async function run(
  corpus: Corpus,
  settings: RunSettings,
  from?: RunProgress,
  hooks: RunHooks = {},
): Promise<RunOutcome> {
  const trainer = createTrainer(settings.model, settings.precision, settings);
  const start = from ? placed(from, trainer) : { state: trainer.start(), losses: [], timedSteps: 0, timedSeconds: 0 };
  const progress = await trainSteps(trainer, corpus, settings, start, hooks);
  const finished = progress.losses.length === settings.steps && !(await hooks.interrupted?.());
  const heldOut = finished ? await heldOutLoss(trainer, corpus, settings, progress.state, hooks) : undefined;
  return { ...progress, trainer, heldOut };
}

/** Where a run stood, on the mesh of this one: states load whole. */
function placed(from: RunProgress, trainer: Trainer): RunProgress {
  if (!activeMesh()) return from;
  const model = trainer.start();
  const state = lieLike(from.state, model);
  disposeAll(model);
  return { ...from, state };
}

/**
 * The loss of step k is read while step k + 1 computes, so that the device never waits for this loop and this loop never
 * for more than one step.
 */
async function trainSteps(
  trainer: Trainer,
  corpus: Corpus,
  settings: RunSettings,
  from: RunProgress,
  hooks: RunHooks,
): Promise<RunProgress> {
  const { model, batch, steps } = settings;
  const offsets = await trainingOffsets(settings.key, corpus.training, { steps, batch, sequence: model.sequence });
  const losses = [...from.losses];
  const times: number[] = [];
  let { state } = from;
  let pending: Promise<number> | undefined;
  const settle = async (): Promise<void> => {
    losses.push(await pending!);
    times.push(performance.now());
    hooks.onStep?.(losses.length, losses.at(-1)!);
  };
  for (let step = from.losses.length; step < steps && !(await hooks.interrupted?.()); step++) {
    const tokens = windows(corpus.training, offsets[step]!, model.sequence + 1);
    const [next, loss] = trainer.step(state, tokens);
    state = next;
    tokens.dispose();
    const reading = loss.item().finally(() => loss.dispose());
    if (pending) await settle();
    pending = reading;
    await breathe();
  }
  if (pending) await settle();
  return {
    state,
    losses,
    timedSteps: from.timedSteps + Math.max(0, times.length - 1),
    timedSeconds: from.timedSeconds + (times.length > 1 ? (times.at(-1)! - times[0]!) / 1000 : 0),
  };
}

async function heldOutLoss(
  trainer: Trainer,
  corpus: Corpus,
  settings: RunSettings,
  { variables }: TrainState,
  hooks: RunHooks,
) {
  const { model, batch } = settings;
  const offsets = heldOutOffsets(corpus.heldOut, { batch, sequence: model.sequence }, HELD_OUT_BATCHES);
  let sum = 0;
  for (const some of offsets) {
    if (await hooks.interrupted?.()) return undefined;
    const tokens = windows(corpus.heldOut, some, model.sequence + 1);
    const loss = trainer.evaluate(variables, tokens);
    sum += await loss.item();
    disposeAll([tokens, loss]);
    await breathe();
  }
  return sum / offsets.length;
}

/** Seconds that a step takes, from a few of them on a state of their own. */
export async function measureStep(corpus: Corpus, settings: RunSettings): Promise<number> {
  const few = { ...settings, steps: 4 };
  const trainer = createTrainer(few.model, few.precision, few);
  const start = { state: trainer.start(), losses: [], timedSteps: 0, timedSeconds: 0 };
  const { state, timedSeconds, timedSteps } = await trainSteps(trainer, corpus, few, start, {});
  disposeAll(state);
  return timedSeconds / timedSteps;
}
