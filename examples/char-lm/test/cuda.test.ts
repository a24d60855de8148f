/** The demo on a GPU, or where TE_CUDA_EMULATED does not say otherwise on the emulator; and what it says where there is none. */
process.env.TE_CUDA_EMULATED ??= "1";

import "@te/kernels-cpu";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { cudaAvailable } from "@te/kernels-cuda";
import { memory, setDevice } from "@te/tensor";
import { presentDevices } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { run } from "../src/run.js";
import { disposeAll, PRECISIONS } from "../src/train.js";
import { corpus, settingsOf } from "./tiny.js";

const STEPS = 6;
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
      expect(gpu.losses).toHaveLength(STEPS);
      for (const [i, loss] of gpu.losses.entries()) expect(Math.abs(loss - cpu.losses[i]!)).toBeLessThan(0.03);
      expect(Math.abs(gpu.heldOut! - cpu.heldOut!)).toBeLessThan(0.03);
      expect(gpu.losses.at(-1)).toBeLessThan(gpu.losses[0]!);
    },
  );

  test("gives its memory back", async () => {
    setDevice("cuda");
    const train = async () => disposeAll((await run(corpus, settingsOf(PRECISIONS[1]!, 2))).state);
    await train();
    const before = memory().live;
    await train();
    expect(memory().live - before).toBeLessThanOrEqual(0);
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
