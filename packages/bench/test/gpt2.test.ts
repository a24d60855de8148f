/** The bench of GPT-2 runs in small, and its rows say what they should; decoding gives what the whole sequence gives. Times are not judged. */
import { cpuInfo } from "@te/kernels-cpu";
import { random, type Tensor, tensor } from "@te/tensor";
import { expect, test } from "vitest";
import { benchGpt2 } from "../src/gpt2.js";
import { DECODE_FORMATS, decoder } from "../src/gpt2-decode.js";
import { GPT2, Gpt2 } from "../src/gpt2-model.js";

const SMALL = {
  vocabulary: 96,
  layers: 2,
  hiddenSize: 32,
  mlpHiddenSize: 64,
  heads: 2,
  sequence: 8,
  positions: 16,
} satisfies typeof GPT2;

const native = cpuInfo().available;

test.skipIf(!native)("a small model has every precision and every format of weights", { timeout: 60_000 }, async () => {
  const pace = { batch: 2, steps: 6, tokens: 4, seconds: 0 };
  const { train, decode, model } = await benchGpt2({ model: SMALL, pace });
  expect(model).toEqual({ ...SMALL, batch: 2 });
  expect(train.map(({ precision }) => precision)).toEqual(["float32", "bfloat16", "bfloat16 + FP8"]);
  for (const row of train) for (const value of [row.ms, row.peakShare, row.peakBytes]) expect(value).toBeGreaterThan(0);
  expect(decode.map(({ weights }) => weights)).toEqual(DECODE_FORMATS);
  for (const { boundShare, readGbps } of decode) {
    expect(boundShare).toBeGreaterThan(0);
    expect(readGbps).toBeGreaterThan(0);
  }
  // Matrices in FP8 are half of those in bfloat16; vectors are not.
  const [wide, half, quarter] = decode.map(({ weightBytes }) => weightBytes) as [number, number, number];
  expect(wide).toBe(2 * half);
  expect(quarter).toBeGreaterThan(half / 2);
  expect(quarter).toBeLessThan(0.55 * half);
});

test("GPT2 has 124 million parameters", () => {
  const { vocabulary, positions, layers, hiddenSize: h, mlpHiddenSize: m } = GPT2;
  const layer = 4 * h * h + 2 * h * m + 4 * h + m + h + 4 * h;
  expect((vocabulary + positions) * h + layers * layer + 2 * h).toBe(124_439_808);
});

test("tokens are those of the whole sequence", async () => {
  const LENGTH = 6;
  const { step, dispose } = decoder(SMALL, "float32", LENGTH);
  const tokens = [0];
  for (let i = 0; i < LENGTH; i++) tokens.push(await step().item());
  dispose();
  expect(new Set(tokens).size).toBeGreaterThan(2);
  const model = new Gpt2(SMALL, "float32");
  const ids = tensor([tokens.slice(0, -1)], { dtype: "int32" });
  const { params } = model.init(random.key(0), ids);
  const logits: Tensor = model.apply({ params }, ids);
  expect([...(await logits.argmax(-1).values())]).toEqual(tokens.slice(1));
});
