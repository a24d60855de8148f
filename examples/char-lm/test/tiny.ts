/** A text and a model small enough that the tests train and write in moments. */
import { random } from "@te/tensor";
import { readCorpus } from "../src/data.js";
import type { ModelConfig } from "../src/model.js";
import type { RunSettings } from "../src/run.js";
import type { Precision } from "../src/train.js";

/** Enough of the book for a few steps. */
export const corpus = readCorpus(
  "It was quite late in the evening when the little Moss came snugly to anchor, and Queequeg and I went ashore; so we could attend to no business that day, at least none but a supper and a bed. ".repeat(
    8,
  ),
);

export const tinyModel: ModelConfig = {
  vocabulary: corpus.characters.length,
  layers: 2,
  hiddenSize: 16,
  mlpHiddenSize: 32,
  heads: 2,
  sequence: 16,
};

export const settingsOf = (precision: Precision, steps: number): RunSettings => ({
  model: tinyModel,
  precision,
  batch: 4,
  steps,
  seed: 1,
  key: random.key(2),
});
