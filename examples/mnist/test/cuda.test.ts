/** The network on a GPU, or where TE_CUDA_EMULATED does not say otherwise on the emulator: two steps, as on the CPU. */
process.env.TE_CUDA_EMULATED ??= "1";

import "@te/kernels-cpu";
import { cudaAvailable } from "@te/kernels-cuda";
import { setDevice } from "@te/tensor";
import { presentDevices } from "@te/testkit";
import { expect, test } from "vitest";
import { type Digits, readDigits } from "../src/data.js";
import { Trainer } from "../src/train.js";

const first = ({ pixels, labels }: Digits, count: number): Digits => ({
  count,
  pixels: pixels.subarray(0, count * 28 * 28),
  labels: labels.subarray(0, count),
});

async function losses(device: string): Promise<number[]> {
  setDevice(device);
  const trainer = new Trainer({ dtype: "float32", recipe: "none", batch: 1 });
  const found: number[] = [];
  await trainer.epoch(first(readDigits("train"), 2), (_, __, loss) => found.push(loss));
  return found;
}

const other = presentDevices().includes("cpu") ? "cpu" : "reference";

test.runIf(cudaAvailable().available)(
  "it learns on a GPU what it learns on the CPU",
  { timeout: 240_000 },
  async () => {
    const [gpu, cpu] = [await losses("cuda"), await losses(other)];
    expect(gpu).toHaveLength(2);
    for (const [i, loss] of gpu.entries()) expect(loss).toBeCloseTo(cpu[i]!, 3);
  },
);
