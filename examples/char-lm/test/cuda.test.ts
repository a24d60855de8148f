/** The demo on a GPU, or where TE_CUDA_EMULATED does not say otherwise on the emulator; and what it says where there is none. */
process.env.TE_CUDA_EMULATED ??= "1";

import "@te/kernels-cpu";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { cudaAvailable, cudaReplays, profile } from "@te/kernels-cuda";
import { setDevice, tensor, zeros } from "@te/tensor";
import { bytesAfterCollection, presentDevices } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { SMALL_MODEL } from "../src/model.js";
import { run } from "../src/run.js";
import { createTrainer, disposeAll, PRECISIONS } from "../src/train.js";
import { corpus, settingsOf } from "./tiny.js";

const STEPS = 6;
const MODEL = { ...SMALL_MODEL, sequence: 16, vocabulary: 40 };
const other = presentDevices().includes("cpu") ? "cpu" : "reference";

describe.runIf(cudaAvailable().available)("training on a GPU", () => {
  test.each(PRECISIONS.map((precision) => [precision.name, precision] as const))(
    "in %s goes as on the CPU",
    {
      timeout: 120_000,
    },
    async (_, precision) => {
      const of = async (device: string) => {
        setDevice(device);
        const { losses, heldOut, state } = await run(corpus, settingsOf(precision, STEPS));
        disposeAll(state);
        return { losses, heldOut };
      };
      const [gpu, cpu] = [await of("cuda"), await of(other)];
      const limit = precision.dtype === "float32" ? 2e-6 : precision.recipe === "none" ? 5e-3 : 0.03;
      expect(gpu.losses).toHaveLength(STEPS);
      for (const [i, loss] of gpu.losses.entries()) expect(Math.abs(loss - cpu.losses[i]!)).toBeLessThan(limit);
      expect(Math.abs(gpu.heldOut! - cpu.heldOut!)).toBeLessThan(limit);
      expect(gpu.losses.at(-1)).toBeLessThan(gpu.losses[0]!);
    },
  );

  test("updates all parameters and all FP8 state in a launch each, and stores no gradient of an activation", async () => {
    setDevice("cuda");
    const trainer = createTrainer(MODEL, PRECISIONS[2]!, { steps: 100, seed: 0 });
    const tokens = zeros([2, MODEL.sequence + 1], { dtype: "int32" });
    const state = trainer.start();
    let next: unknown;
    const kernels = await profile(() => {
      [next] = trainer.step(state, tokens);
    });
    disposeAll(next);
    const count = (op: string): number => kernels.filter((kernel) => kernel.op === op).length;
    for (const op of ["joined_adamw_update", "joined_square_sum", "joined_delayed_scaling_update"])
      expect([op, count(op)]).toEqual([op, 1]);
    for (const op of ["adamw_update", "delayed_scaling_update", "gated_activation_backward"])
      expect([op, count(op)]).toEqual([op, 0]);
    expect(count("gated_activation_backward_quantize_transposed")).toBe(MODEL.layers);
  });

  test("replays as a graph in code that leaves its tensors to the garbage collector", async () => {
    setDevice("cuda");
    const [first, steps] = [10, 60]; // in the first ones programs run kernel by kernel once, and find their slots
    const trainer = createTrainer(MODEL, PRECISIONS[1]!, { steps, seed: 0 });
    let state = trainer.start();
    let before = cudaReplays();
    for (let step = 0; step < steps; step++) {
      if (step === first) before = cudaReplays();
      const tokens = tensor(
        Int32Array.from({ length: 2 * (MODEL.sequence + 1) }, (_, i) => (i * 7 + step) % MODEL.vocabulary),
        { shape: [2, MODEL.sequence + 1] },
      );
      const [next, loss] = trainer.step(state, tokens);
      state = next;
      await loss.data();
    }
    const after = cudaReplays();
    disposeAll(state);
    const [replayed, executed] = [after.replayed - before.replayed, after.executed - before.executed];
    expect(replayed + executed).toBeGreaterThanOrEqual(steps - first);
    expect(replayed / (replayed + executed)).toBeGreaterThan(0.95);
  });

  test("gives its memory back", async () => {
    setDevice("cuda");
    const train = async () => disposeAll((await run(corpus, settingsOf(PRECISIONS[1]!, 2))).state);
    await train();
    const before = await bytesAfterCollection();
    await train();
    expect((await bytesAfterCollection(before)) - before).toBeLessThanOrEqual(0);
  });
});

test("--device cuda where it is not available is one sentence", () => {
  const main = join(import.meta.dirname, "../src/main.ts");
  const args = ["--conditions=@te/source", "--import", "tsx", main, "--device", "cuda"];
  const env = { ...process.env, TE_CUDA_EMULATED: "1", TE_CUDA_DEVICE: "7" };
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", env });
  expect([status, stdout]).toEqual([1, ""]);
  expect(stderr).toMatch(/^demo: setDevice: "cuda" is not available: [^\n]+\n$/);
});
