/** The train step on the device "cuda", emulated where there is no GPU: the losses of the CPU, as CUDA graphs, without the host. */
process.env.TE_CUDA_EMULATED ??= "1";
await import("@te/kernels-cpu");
const { cudaAvailable, cudaReplays, profile } = await import("@te/kernels-cuda");

import type { KernelTiming } from "@te/kernels-cuda";
import { setDevice, tensor } from "@te/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { SMALL_MODEL } from "../src/model.js";
import { createTrainer, disposeAll, PRECISIONS, type Precision } from "../src/train.js";

const CONFIG = { ...SMALL_MODEL, sequence: 16, vocabulary: 40 };
const BATCH = 2;
const CURRENT: Precision = { name: "bfloat16 + current scaling", dtype: "bfloat16", recipe: "current" };
/** Relative: rounding orders differ, and the steps carry it on. */
const LIMITS = { float32: 1e-5, bfloat16: 2e-2 };

const tokensOf = (step: number) =>
  tensor(
    Int32Array.from({ length: BATCH * (CONFIG.sequence + 1) }, (_, i) => (i * 7 + step * 13 + ((i * i) % 11)) % 40),
    { shape: [BATCH, CONFIG.sequence + 1] },
  );

/** The losses of some steps. Nothing is disposed of: the garbage collector gets all of it. */
async function train(device: string, precision: Precision, steps: number): Promise<number[]> {
  setDevice(device);
  const trainer = createTrainer(CONFIG, precision, { steps: 100, seed: 0 });
  let state = trainer.start();
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const [next, loss] = trainer.step(state, tokensOf(step));
    state = next;
    losses.push(Number((await loss.data())[0]));
  }
  disposeAll(state);
  return losses;
}

afterAll(() => setDevice("auto"));

describe.skipIf(!cudaAvailable().available)("a train step on cuda", () => {
  test.each([...PRECISIONS, CURRENT])("$name has the losses of the CPU", async (precision) => {
    const expected = await train("cpu", precision, 3);
    const losses = await train("cuda", precision, 3);
    losses.forEach((loss, i) => expect(Math.abs(loss / expected[i]! - 1)).toBeLessThan(LIMITS[precision.dtype]));
  });

  test("is one program from the first kernel to the last: no op of it runs on the host", async () => {
    for (const precision of [...PRECISIONS, CURRENT]) {
      setDevice("cuda");
      const trainer = createTrainer(CONFIG, precision, { steps: 100, seed: 0 });
      const state = trainer.start();
      let next: unknown;
      const kernels: KernelTiming[] = await profile(async () => {
        const [after, loss] = trainer.step(state, tokensOf(0));
        next = after;
        await loss.data();
      });
      disposeAll(next);
      expect(new Set(kernels.map(({ program }) => program)).size).toBe(1);
    }
  });

  test("replays as a graph in code that leaves its tensors to the garbage collector", async () => {
    const steps = 24;
    await train("cuda", PRECISIONS[1]!, 2);
    const before = cudaReplays();
    await train("cuda", PRECISIONS[1]!, steps);
    const after = cudaReplays();
    const replayed = after.replayed - before.replayed;
    const executed = after.executed - before.executed;
    // A step has two parts, and its first run and that of each program at the start go kernel by kernel.
    expect(replayed / (2 * steps)).toBeGreaterThan(0.9);
    expect(executed).toBeLessThan(20);
  });
});
