/** Training in every precision: the loss falls, stopped runs go on bit for bit, and steps leave no memory behind. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { saveState } from "@te/checkpoint";
import { memory, tree } from "@te/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { trainingFlopsPerToken } from "../src/model.js";
import { UsageError } from "../src/options.js";
import { type RunOutcome, run } from "../src/run.js";
import { loadSession, type Session, saveSession } from "../src/session.js";
import { createTrainer, PRECISIONS } from "../src/train.js";
import { corpus, settingsOf, tinyModel } from "./tiny.js";

const folder = mkdtempSync(join(tmpdir(), "char-lm-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bytesOf = (state: unknown): Promise<unknown[]> =>
  Promise.all(
    tree.leavesWithPath(state).map(async ({ path, leaf }) => [path.join("/"), leaf.dtype, await leaf.data()]),
  );

/** Trains until `count` steps are done, as Ctrl-C would have it. */
async function runUntil(count: number, ...args: Parameters<typeof run>): Promise<RunOutcome> {
  let done = 0;
  const [text, settings, from] = args;
  const onStep = (step: number): void => {
    done = step;
  };
  return run(text, settings, from, { onStep, interrupted: () => done >= count });
}

describe.each(PRECISIONS)("$name", (precision) => {
  test("20 steps lower the loss", async () => {
    const { losses, heldOut } = await run(corpus, settingsOf(precision, 20));
    expect(losses.length).toBe(20);
    // At first every character is about as probable as the others.
    expect(Math.abs(losses[0]! - Math.log(tinyModel.vocabulary))).toBeLessThan(1);
    expect(losses.at(-1)!).toBeLessThan(losses[0]! - 0.3);
    expect(heldOut!).toBeLessThan(losses[0]! - 0.3);
  });

  test("a run that was stopped, saved and loaded goes on bit for bit", async () => {
    const settings = settingsOf(precision, 7);
    const whole = await run(corpus, settings);
    const stopped = await runUntil(3, corpus, settings);
    expect(stopped.heldOut).toBeUndefined();
    expect(stopped.losses.length).toBeGreaterThanOrEqual(3);
    expect(stopped.losses.length).toBeLessThan(7);

    const path = join(folder, `${precision.name}.safetensors`);
    const { trainer: _, heldOut: __, ...current } = stopped;
    const session: Session = { ...settings, precisions: [precision], out: folder, results: [], current };
    await saveSession(path, session);
    const loaded = await loadSession(path, tinyModel.vocabulary);
    const resumed = await run(corpus, { ...loaded, precision: loaded.precisions[0]! }, loaded.current!);

    expect(resumed.losses).toEqual(whole.losses);
    expect(resumed.heldOut).toBe(whole.heldOut);
    expect(await bytesOf(resumed.state)).toEqual(await bytesOf(whole.state));
  });
});

test("all precisions start from the same parameters and see the same batches", async () => {
  const states = PRECISIONS.map((precision) => createTrainer(tinyModel, precision, settingsOf(precision, 1)).start());
  const [first, ...others] = await Promise.all(states.map(({ variables }) => bytesOf(variables.params)));
  for (const other of others) expect(other).toEqual(first);
  expect(Object.keys(states[2]!.variables).sort()).toEqual(["fp8_metas", "params"]);
});

test("FP8 scales follow the values", async () => {
  const { state } = await run(corpus, settingsOf(PRECISIONS[2]!, 3));
  const metas = tree.leavesWithPath(state.variables.fp8_metas);
  const scales = metas.filter(({ path }) => path.at(-1)!.endsWith("scale"));
  // Four products in each layer, each with input, kernel and gradient; the head is not among them.
  expect(scales.length).toBe(tinyModel.layers * 4 * 3);
  for (const { leaf } of scales) expect(await leaf.item()).not.toBe(1);
});

test("steps allocate nothing that stays", async () => {
  const precision = PRECISIONS[0]!;
  const live: number[] = [];
  await run(corpus, settingsOf(precision, 12), undefined, { onStep: () => void live.push(memory().live) });
  // A loss of 4 bytes may be on its way.
  expect(live.at(-2)! - live[3]!).toBeLessThan(64);
});

test("a file that is no saved session is an error of one sentence", async () => {
  const absent = join(folder, "absent.safetensors");
  await expect(loadSession(absent, 3)).rejects.toThrow(new UsageError(`--resume ${absent} does not exist.`));
  const text = join(folder, "text.safetensors");
  writeFileSync(text, "Call me Ishmael.");
  await expect(loadSession(text, 3)).rejects.toThrow(/^--resume .*text\.safetensors cannot be read: /);
  const other = join(folder, "other.safetensors");
  await saveState(other, { step: 3 });
  await expect(loadSession(other, 3)).rejects.toThrow(
    new UsageError(`--resume ${other} is not a state that this demo saved.`),
  );
});

test("operations of a token by the formula", () => {
  // One layer of width 1, MLP 1, sequence 1: 8 for the projections, 4 for the MLP, 4 for attention, 2 per logit, times 3.
  const config = { vocabulary: 5, layers: 1, hiddenSize: 1, mlpHiddenSize: 1, heads: 1, sequence: 1 };
  expect(trainingFlopsPerToken(config)).toBe(3 * (8 + 4 + 4 + 10));
});
