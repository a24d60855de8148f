/** The time of a call on a device that works while the caller goes on: batches of calls between two moments of rest. */
import { ones } from "@te/tensor";
import { disposeAll, median } from "./timing.js";

export interface Pace {
  /** A batch has as many calls as fit into this time, one at least. */
  readonly batchMs: number;
  readonly most: number;
  readonly batches: number;
}

export const PACE: Pace = { batchMs: 40, most: 400, batches: 7 };
/** For trying things out on the emulator. */
export const QUICK: Pace = { batchMs: 0, most: 1, batches: 1 };

/** Resolves when the device has done everything: a small result comes after all that was queued before it. */
export async function finish(): Promise<void> {
  const one = ones([1]);
  const after = one.add(1);
  await after.data();
  disposeAll([one, after]);
}

export interface Times {
  /** Per call: the median over the batches, the least and the most. */
  readonly ms: number;
  readonly least: number;
  readonly most: number;
  /** Of the calling thread, per call. */
  readonly hostMs: number;
}

/** Calls that follow one another, so that the device has work all the time. Results are freed as they are made. */
export async function timeCalls(call: () => unknown, pace: Pace = PACE): Promise<Times> {
  // The first compiles and runs, the second is recorded, the third is replayed.
  for (let i = 0; i < 3; i++) disposeAll(call());
  await finish();
  const once = (await batch(call, 1)).ms;
  const calls = Math.max(1, Math.min(pace.most, Math.ceil(pace.batchMs / once)));
  const samples: { ms: number; hostMs: number }[] = [];
  for (let i = 0; i < pace.batches; i++) samples.push(await batch(call, calls));
  const times = samples.map(({ ms }) => ms);
  return {
    ms: median(times),
    least: Math.min(...times),
    most: Math.max(...times),
    hostMs: median(samples.map(({ hostMs }) => hostMs)),
  };
}

async function batch(call: () => unknown, calls: number): Promise<{ ms: number; hostMs: number }> {
  const start = performance.now();
  for (let i = 0; i < calls; i++) disposeAll(call());
  const queued = performance.now();
  await finish();
  return { ms: (performance.now() - start) / calls, hostMs: (queued - start) / calls };
}
