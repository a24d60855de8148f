/** Processes of one machine share its cores, unless TE_NUM_THREADS says how many threads each has. */
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { STARTERS } from "@te/testkit";
import { describe, expect, test } from "vitest";

const child = join(import.meta.dirname, "threads-child.ts");
const share = Math.min(Math.max(1, Math.floor(cpus().length / 2)), availableParallelism());

describe.each(STARTERS)("$name", ({ missing, run }) => {
  if (missing) test.skip(missing);
  else
    test.each([
      ["", share],
      ["3", 3],
    ])("TE_NUM_THREADS=%j: %d threads each", { timeout: 120_000 }, async (wish, threads) => {
      const { code, output } = await run(2, child, [], { TE_NUM_THREADS: wish });
      expect(code, output).toBe(0);
      expect(output.match(/^\d has \d+ threads$/gm)?.sort()).toEqual(
        [0, 1].map((rank) => `${rank} has ${threads} threads`),
      );
    });
});
