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

/** Time of the kernels alone, in milliseconds. */
export async function kernelMs(call: () => unknown): Promise<number> {
  const timings = await profile(async () => {
    const results = call();
    await settle(results);
    disposeAll(results);
  });
  return timings.reduce((sum, t) => sum + t.ns, 0) / 1e6;
}

export const best = (samples: readonly number[]): number => Math.min(...samples);

export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

export const round = (value: number, digits = 3): number => Number(value.toPrecision(digits));

export const onNative = (): boolean => currentBackend().name === "cpu";
