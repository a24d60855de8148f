/** Drawn programs, split over drawn meshes, give what they give whole, and so do their gradients. */
import { expect, test } from "vitest";
import { findProgramError } from "../src/index.js";

const COUNT = process.env.TE_SLOW === "1" ? 4000 : 400;
const GROUP = 50;

test.each(Array.from({ length: COUNT / GROUP }, (_, group) => [group * GROUP]))(
  "programs from %i on",
  { timeout: 120_000 },
  (first) => {
    for (let seed = first; seed < first + GROUP; seed++) {
      const found = findProgramError(seed);
      if (found) expect.fail(`program ${seed}: ${found}`);
    }
  },
);
