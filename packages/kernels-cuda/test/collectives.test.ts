/** What processes with a GPU each exchange: all collectives between three emulated ones, in groups of all and of some. */
import "./emulated.js";
import { join } from "node:path";
import { cudaAvailable } from "@te/kernels-cuda";
import { runTogether } from "@te/testkit";
import { expect, test } from "vitest";

const child = join(import.meta.dirname, "collectives-child.ts");

test.runIf(cudaAvailable().available)(
  "every process has what the parts of all give",
  { timeout: 300_000 },
  async () => {
    const { code, output } = await runTogether(3, child);
    expect(code, output).toBe(0);
    expect(output.match(/^\d has what all together give$/gm)?.sort()).toEqual(
      [0, 1, 2].map((rank) => `${rank} has what all together give`),
    );
  },
);
