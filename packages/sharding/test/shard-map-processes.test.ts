/** shardMap on processes: every collective gives every one of them what a virtual mesh gives, values and gradients. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { STARTERS } from "@te/testkit";
import { describe, expect, onTestFinished, test } from "vitest";
import { MESHES, resultsOn } from "./shard-map-cases.js";
import "@te/kernels-cpu";

const child = join(import.meta.dirname, "shard-map-child.ts");

describe.each(STARTERS)("$name", ({ missing, run }) => {
  if (missing) test.skip(missing);
  else
    test.each([2, 4])("%d processes have what virtual devices have", { timeout: 240_000 }, async (count) => {
      const folder = mkdtempSync(join(tmpdir(), "te-shard-map-"));
      onTestFinished(() => rmSync(folder, { recursive: true }));
      const { code, output } = await run(count, child, [folder]);
      expect(code, output).toBe(0);
      const expected: Record<string, number[]>[] = [];
      for (const mesh of MESHES[count]!) expected.push(await resultsOn(mesh));
      for (const results of expected) expect(Object.keys(results).length).toBeGreaterThan(50);
      for (let rank = 0; rank < count; rank++)
        expect(JSON.parse(readFileSync(join(folder, String(rank)), "utf8")), `rank ${rank}`).toEqual(expected);
    });
});
