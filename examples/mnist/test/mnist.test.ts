/** E03: the network learns to read digits. A few steps here; a full epoch and five of them in mnist.slow.test.ts. */
import "@te/kernels-cpu";
import { createHash } from "node:crypto";
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

test("the digits are those that were published", () => {
  const digits = readDigits("train");
  expect(digits.count).toBe(60_000);
  expect(readDigits("t10k").count).toBe(10_000);
  const mean = digits.pixels.reduce((sum, v) => sum + v, 0) / digits.pixels.length / 255;
  expect(mean).toBeCloseTo(0.1307, 4);
  const file = Buffer.concat([Buffer.from("00000803" + "0000ea60" + "0000001c" + "0000001c", "hex"), digits.pixels]);
  expect(createHash("md5").update(file).digest("hex")).toMatch(/^6bbc9ace.*31adb$/);
});

test.runIf(presentDevices().includes("cpu"))("E03 fifty steps in bfloat16 with FP8 dense layers", async () => {
  setDevice("cpu");
  const trainer = new Trainer({ dtype: "bfloat16", recipe: "delayed" });
  await trainer.epoch(first(readDigits("train"), 3200));
  const { accuracy } = await trainer.evaluate(first(readDigits("t10k"), 1000));
  expect(accuracy).toBeGreaterThan(0.6);
});

test("it runs on the reference", async () => {
  setDevice("reference");
  const trainer = new Trainer({ dtype: "float32", recipe: "none", batch: 2 });
  const losses: number[] = [];
  await trainer.epoch(first(readDigits("train"), 4), (_, __, loss) => losses.push(loss));
  expect(losses[0]).toBeGreaterThan(2); // ln 32 = 3.5 where nothing is known
  expect(losses).toHaveLength(2);
});
