/** Checkpoints of several processes: each writes and reads its parts, and one that fails leaves the checkpoint that was there. */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { STARTERS } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { loadState } from "../src/index.js";
import { temporaryDirectory } from "./helpers.js";
import { bitsOf, state } from "./meshes.js";

const child = join(import.meta.dirname, "processes-child.ts");
const INDEX = "state.safetensors.index.json";
const limits = { timeout: 120_000 };

describe.each(STARTERS)("$name", ({ missing, run }) => {
  if (missing) {
    test.skip(missing);
    return;
  }

  test("four processes save, others load on another mesh, each what it holds", limits, async () => {
    const path = join(await temporaryDirectory(), INDEX);
    const saved = await run(4, child, ["save", "2x2", path]);
    expect(saved.code, saved.output).toBe(0);
    expect(await readdir(join(path, ".."))).toHaveLength(5);
    expect(await bitsOf(await loadState(path))).toEqual(await bitsOf(state()));
    for (const [way, count] of [
      ["fsdp3", 3],
      ["tp4", 4],
    ] as const) {
      const { code, output } = await run(count, child, ["load", way, path]);
      expect(code, output).toBe(0);
      const lines = [...output.matchAll(/^\d has its parts, read (\d+) of (\d+) at step 5$/gm)];
      expect(lines, output).toHaveLength(count);
      for (const [, read, needed] of lines) {
        if (way === "fsdp3") expect(read).toBe(needed);
        else expect(Number(read)).toBeGreaterThanOrEqual(Number(needed)); // columns, and what lies between
      }
    }
  });

  test("processes wait for one that writes for longer than exchanges may take", limits, async () => {
    const path = join(await temporaryDirectory(), INDEX);
    const { code, output } = await run(2, child, ["save", "tp2", path, "slow"], { TE_COLLECTIVE_TIMEOUT: "2" });
    expect(code, output).toBe(0);
    expect(await loadState(path)).toMatchObject({ step: 6 });
  });

  test("a byte that flipped ends the processes, with its file and its tensor", limits, async () => {
    const path = join(await temporaryDirectory(), INDEX);
    const saved = await run(2, child, ["save", "fsdp2", path]);
    expect(saved.code, saved.output).toBe(0);
    const shard = (await readdir(join(path, ".."))).find((name) => name.endsWith("-00002-of-00002.safetensors"))!;
    const bytes = await readFile(join(path, "..", shard));
    bytes[bytes.length - 1]! ^= 1;
    await writeFile(join(path, "..", shard), bytes);
    const { code, output } = await run(2, child, ["load", "fsdp2", path]);
    expect(code).not.toBe(0);
    expect(output).toMatch(
      /^Rank 1 of 2: TeError: loadState\(.*\), state-.*-00002-of-00002.safetensors: tensor ".*" is damaged/m,
    );
  });

  describe("leaves the checkpoint that was there", () => {
    async function fall(fault: string): Promise<string> {
      const path = join(await temporaryDirectory(), INDEX);
      const first = await run(2, child, ["save", "tp2", path]);
      expect(first.code, first.output).toBe(0);
      const before = (await readdir(join(path, ".."))).sort();
      const { code, output, seconds } = await run(2, child, ["save", "tp2", path, fault], {
        TE_COLLECTIVE_TIMEOUT: "3",
      });
      expect(code, output).not.toBe(0);
      expect(output).not.toContain("saved");
      expect(seconds).toBeLessThan(30);
      // Loading removes what killed processes left.
      expect(await bitsOf(await loadState(path))).toEqual(await bitsOf(state()));
      expect((await readdir(join(path, ".."))).sort()).toEqual(before);
      return output;
    }

    test("when one is killed", limits, async () => {
      await fall("kill");
    });

    test("when the disk of one is full, with who it was", limits, async () => {
      const output = await fall("full");
      expect(output).toMatch(/^1 failed: saveState\(.*\): cannot be written: ENOSPC/m);
      expect(output).toMatch(/^0 failed: saveState\(.*\): rank 1 could not do its part, as its own error says/m);
      expect(output).toMatch(/^Rank [01] of 2: TeError: saveState/m);
    });
  });
});
