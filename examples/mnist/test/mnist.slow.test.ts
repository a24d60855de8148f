/** E03 in full: one epoch, and with TE_SLOW=1 TE_EPOCHS=5 five of them. */
import "@te/kernels-cpu";
import { describe, expect, test } from "vitest";
import { readDigits } from "../src/data.js";
import { Trainer } from "../src/train.js";

const epochs = Number(process.env.TE_EPOCHS ?? 1);
const kinds = [
  ["float32", "none"],
  ["bfloat16", "none"],
  ["bfloat16", "delayed"],
  ["bfloat16", "current"],
] as const;

describe("E03 MNIST", () => {
  test.each(kinds)("%s, FP8 %s", { timeout: epochs * 1_200_000 }, async (dtype, recipe) => {
    const trainer = new Trainer({ dtype, recipe });
    const digits = readDigits("train");
    for (let epoch = 0; epoch < epochs; epoch++) await trainer.epoch(digits);
    const { loss, accuracy } = await trainer.evaluate(readDigits("t10k"));
    expect(accuracy).toBeGreaterThanOrEqual(epochs >= 5 ? 0.985 : 0.97);
    if (epochs >= 5) expect(loss).toBeLessThanOrEqual(0.045);
  });
});
