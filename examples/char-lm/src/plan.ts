/** Decides what the demo does: from the command line, the device, and the time that a step takes. */
import { resolve } from "node:path";
import { agreeOnLargest } from "@te/sharding";
import { random } from "@te/tensor";
import type { Corpus } from "./data.js";
import { isFirst } from "./mesh.js";
import { DEMO_MODEL, type ModelConfig, SMALL_MODEL } from "./model.js";
import { DEFAULT_OUT, type Options } from "./options.js";
import { formatTime } from "./progress.js";
import { measureStep } from "./run.js";
import { loadSession, type Session } from "./session.js";
import { PRECISIONS } from "./train.js";

/** Most steps of a run, and seconds that the steps of all runs may take together. */
const DEFAULTS = { batch: 4, steps: 250, seconds: 150 } as const;
/** On the reference backend. */
const SMALL = { batch: 4, steps: 120, seconds: 165 } as const;
/** Fewer steps than this teach the model nothing. */
const FEWEST_STEPS = 40;

/** The session that the options ask for; `say` gets lines that explain choices. */
export async function planSession(
  options: Options,
  corpus: Corpus,
  device: string,
  say: (line: string) => void,
): Promise<Session> {
  const vocabulary = corpus.characters.length;
  if (options.resume !== undefined) {
    const saved = await loadSession(options.resume, vocabulary);
    return options.out === undefined ? saved : { ...saved, out: resolve(options.out) };
  }
  const isReference = device === "reference";
  const defaults = isReference ? SMALL : DEFAULTS;
  const model: ModelConfig = { ...(isReference ? SMALL_MODEL : DEMO_MODEL), vocabulary };
  if (isReference) say(smallModelLine(model));
  const seed = options.seed ?? 0;
  const session = {
    model,
    precisions: options.precision ? [options.precision] : PRECISIONS,
    batch: options.batch ?? defaults.batch,
    steps: options.steps ?? defaults.steps,
    seed,
    key: random.foldIn(random.key(seed), 1),
    out: resolve(options.out ?? DEFAULT_OUT),
    results: [],
    current: null,
  };
  return options.steps === undefined
    ? { ...session, steps: await affordableSteps(session, corpus, defaults.seconds, say) }
    : session;
}

function smallModelLine({ layers, hiddenSize, sequence }: ModelConfig): string {
  const full = DEMO_MODEL;
  return (
    `The reference backend is slow: a model of ${layers} layers of width ${hiddenSize} on ${sequence} characters stands in for ` +
    `${full.layers} of ${full.hiddenSize} on ${full.sequence}, and its loss ends higher.`
  );
}

/** The planned number of steps, or as many as fit into the time. */
async function affordableSteps(
  session: Session,
  corpus: Corpus,
  seconds: number,
  say: (line: string) => void,
): Promise<number> {
  let perStep = 0;
  for (const precision of session.precisions) perStep += await measureStep(corpus, { ...session, precision });
  const own = Math.max(FEWEST_STEPS, Math.floor(seconds / perStep / 10) * 10);
  // Processes that run together make as many steps as the first of them can.
  const fitting = await agreeOnLargest(isFirst() ? own : 0, "the number of steps");
  if (fitting >= session.steps) return session.steps;
  say(
    `${fitting} steps instead of ${session.steps}, to be done in ${formatTime(fitting * perStep)} on this machine; --steps N sets another number.`,
  );
  return fitting;
}
