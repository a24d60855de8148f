/** What the demo is about to do and what it has done, in a form that can be saved and gone on with. */
import { existsSync } from "node:fs";
import { loadState, saveState } from "@te/checkpoint";
import type { Tensor } from "@te/tensor";
import type { ModelConfig } from "./model.js";
import { UsageError } from "./options.js";
import type { RunProgress } from "./run.js";
import type { Precision } from "./train.js";

export interface RunResult {
  readonly precision: Precision;
  readonly losses: readonly number[];
  /** In nats. */
  readonly heldOut: number;
  readonly tokensPerSecond: number;
}

export interface Session {
  readonly model: ModelConfig;
  readonly precisions: readonly Precision[];
  readonly batch: number;
  readonly steps: number;
  readonly seed: number;
  readonly key: Tensor;
  readonly out: string;
  readonly results: readonly RunResult[];
  /** The run after those of `results`, where it has begun. */
  readonly current: RunProgress | null;
}

const FORMAT = "char-lm session 1";

/** Parameters, optimizer state, FP8 state, random key, step, losses: all that the next step depends on. */
export const saveSession = (path: string, session: Session): Promise<void> =>
  saveState(path, { format: FORMAT, ...session });

/** Throws a UsageError where the file is not one of saveSession. */
export async function loadSession(path: string, vocabulary: number): Promise<Session> {
  if (!existsSync(path)) throw new UsageError(`--resume ${path} does not exist.`);
  let loaded: Session & { readonly format?: unknown };
  try {
    loaded = await loadState(path);
  } catch (error) {
    throw new UsageError(`--resume ${path} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
  if (loaded?.format !== FORMAT) throw new UsageError(`--resume ${path} is not a state that this demo saved.`);
  if (loaded.model.vocabulary !== vocabulary) {
    throw new UsageError(
      `--resume ${path} was trained on a text of ${loaded.model.vocabulary} characters, not on this one of ${vocabulary}.`,
    );
  }
  const { format: _, ...session } = loaded;
  return session;
}
