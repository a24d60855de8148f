/** Time of a call, from dispatch to result or of its kernels alone, and the summaries of several samples. */
import { profile } from "@te/kernels-cpu";
import { currentBackend, type Tensor, tree } from "@te/tensor";

/** Waits until everything dispatched so far has run: programs run in order, so the last result is enough. */
export async function settle(results: unknown): Promise<void> {
  const last = tree.leaves(results).at(-1) as Tensor | undefined;
  if (last?.storage) await last.data();
}

export function disposeAll(results: unknown): void {
  for (const leaf of tree.leaves(results)) (leaf as Tensor).dispose?.();
}

/** Milliseconds of one call, from dispatch to its last result. Results are freed, so that the next call reuses their memory. */
export async function timeOnce(call: () => unknown): Promise<number> {
  const start = performance.now();
  const results = call();
  await settle(results);
  const ms = performance.now() - start;
  disposeAll(results);
  return ms;
}

/** Long enough to meet a quiet moment of a shared machine. */
const TIMED_MS = 150;
const ROUNDS = { least: 5, most: 500, unknown: 3 } as const;

/**
 * Time of a call's kernels alone, in milliseconds: the best of calls that follow one another without a pause, so that
 * threads are awake and results lie in memory that earlier ones left. On a backend without a profile, of whole calls.
 */
export async function kernelMs(call: () => unknown): Promise<number> {
  if (!onNative()) {
    const samples: number[] = [];
    for (let i = 0; i < ROUNDS.unknown; i++) samples.push(await timeOnce(call));
    return best(samples);
  }
  const once = best(await roundsMs(call, ROUNDS.unknown));
  const rounds = Math.min(ROUNDS.most, Math.max(ROUNDS.least, Math.ceil(TIMED_MS / once)));
  return best(await roundsMs(call, rounds));
}

async function roundsMs(call: () => unknown, rounds: number): Promise<number[]> {
  const timings = await profile(() => {
    for (let i = 0; i < rounds; i++) disposeAll(call());
  });
  const perRound = timings.length / rounds;
  return Array.from({ length: rounds }, (_, i) =>
    timings.slice(i * perRound, (i + 1) * perRound).reduce((sum, t) => sum + t.ns / 1e6, 0),
  );
}

export const best = (samples: readonly number[]): number => Math.min(...samples);

export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

export const round = (value: number, digits = 3): number => Number(value.toPrecision(digits));

const onNative = (): boolean => currentBackend().name === "cpu";
