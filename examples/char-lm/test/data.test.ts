/** The book as training data: its split, its ids, its entropy, and the windows that a key and a step draw. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { random } from "@te/tensor";
import { describe, expect, test } from "vitest";
import { decode, encode, heldOutOffsets, readCorpus, trainingOffsets, windows } from "../src/data.js";
import { DEMO_MODEL } from "../src/model.js";

describe("data", () => {
  const corpus = readCorpus();

  test("the book is split by position and comes back from its ids", () => {
    const { training, heldOut, characters } = corpus;
    const whole = decode(characters, [...training, ...heldOut]);
    expect(whole.startsWith("CHAPTER 1. Loomings.")).toBe(true);
    expect(whole.trimEnd().endsWith("only found another orphan.")).toBe(true);
    expect(heldOut.length / whole.length).toBeCloseTo(0.1, 4);
    expect(decode(characters, encode(characters, "Call me Ishmael."))).toBe("Call me Ishmael.");
    expect(() => encode(characters, "Jürgen")).toThrow('the book has no character "ü"');
  });

  test("entropy of a text with known frequencies", () => {
    // p = 1/2, 1/4, 1/4: H = 3/2 log 2.
    expect(readCorpus("aabcaabc").unigramEntropy).toBeCloseTo(1.5 * Math.LN2, 12);
    expect(corpus.unigramEntropy).toBeGreaterThan(2.9);
  });

  test("the README says what the model and the book are", () => {
    const readme = readFileSync(join(import.meta.dirname, "../README.md"), "utf8").replaceAll("\n", " ");
    const { layers, hiddenSize, mlpHiddenSize, heads, sequence } = DEMO_MODEL;
    expect(readme).toContain(`${layers} × \`TransformerLayer\``);
    expect(readme).toContain(`width ${hiddenSize}, ${heads} heads, GELU MLP of ${mlpHiddenSize}`);
    expect(readme).toContain(
      `logits of ${corpus.characters.length} characters, over windows of ${sequence} characters`,
    );
    expect(readme).toContain(`how frequent each character is gives ${corpus.unigramEntropy.toFixed(2)}.`);
  });

  test("offsets depend on the key and the step alone", async () => {
    const draw = (seed: number, steps: number) =>
      trainingOffsets(random.key(seed), corpus.training, { steps, batch: 3, sequence: 16 });
    const [few, many, other] = [await draw(5, 4), await draw(5, 9), await draw(6, 4)];
    expect(many.slice(0, 4)).toEqual(few);
    expect(other).not.toEqual(few);
    const all = many.flatMap((step) => [...step]);
    expect(Math.min(...all)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...all) + 17).toBeLessThanOrEqual(corpus.training.length);
  });

  test("windows hold consecutive ids up to the end of the text", async () => {
    const ids = Int32Array.from({ length: 40 }, (_, i) => i);
    const offsets = heldOutOffsets(ids, { batch: 2, sequence: 7 }, 3).flat();
    expect([offsets[0], offsets.at(-1)]).toEqual([0, 32]);
    expect(await windows(ids, [3, 32], 8).toArray()).toEqual([
      [3, 4, 5, 6, 7, 8, 9, 10],
      [32, 33, 34, 35, 36, 37, 38, 39],
    ]);
  });
});
