/** What processes exchange: all collectives between three of them, in groups of all and of some. */
import { join } from "node:path";
import { STARTERS } from "@te/testkit";
import { describe, expect, test } from "vitest";

const child = join(import.meta.dirname, "collectives-child.ts");

describe.each(STARTERS)("$name", ({ missing, run }) => {
  if (missing) test.skip(missing);
  else
    test("every process has what the parts of all give, to the bit", { timeout: 120_000 }, async () => {
      const { code, output } = await run(3, child);
      expect(code, output).toBe(0);
      expect(output.match(/^\d has what all together give$/gm)?.sort()).toEqual(
        [0, 1, 2].map((rank) => `${rank} has what all together give`),
      );
    });
});
