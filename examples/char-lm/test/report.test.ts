/** The table of results: of which measured peak a run's speed is shown as a share. */
import { expect, test } from "vitest";
import { trainingFlopsPerToken } from "../src/model.js";
import { resultTable } from "../src/report.js";
import { PRECISIONS } from "../src/train.js";
import { tinyModel } from "./tiny.js";

/** Every run at 100 GFLOP/s. */
const tokensPerSecond = 100e9 / trainingFlopsPerToken(tinyModel);
const results = PRECISIONS.map((precision) => ({ precision, losses: [3], heldOut: 2, tokensPerSecond }));
const shares = (peaks: Parameters<typeof resultTable>[2]) =>
  resultTable(results, tinyModel, peaks)
    .split("\n")
    .slice(1)
    .map((line) => /(\d+ %|–)$/.exec(line)?.[1]);

test("shares are of the fastest product that holds the operands exactly", () => {
  expect(shares({ float32: 200, bfloat16: 400 })).toEqual(["50 %", "25 %", "25 %"]);
  // A processor without bfloat16 instructions.
  expect(shares({ float32: 200, bfloat16: 60 })).toEqual(["50 %", "50 %", "50 %"]);
  expect(shares({})).toEqual(["–", "–", "–"]);
});
