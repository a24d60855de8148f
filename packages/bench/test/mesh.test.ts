/** The bench of meshes runs, and its rows say what they should. Times are not judged. */
import { STARTERS } from "@te/testkit";
import { expect, test } from "vitest";
import { benchMesh } from "../src/mesh.js";

const missing = STARTERS.every((starter) => starter.missing) && STARTERS[0]!.missing;

test.skipIf(missing)("a quick run has every mesh and every collective", { timeout: 180_000 }, async () => {
  const { rows, collectives } = await benchMesh({ rounds: 1, quick: true });
  const names = ["one", "dp", "tp", "tpsp", "fsdp"];
  expect(rows.map(({ mesh, dtype }) => `${mesh} ${dtype}`)).toEqual(
    ["float32", "bfloat16"].flatMap((dtype) => names.map((name) => `${name} ${dtype}`)),
  );
  for (const { mesh, ms, share, exchangeMs, hidden } of rows) {
    expect(ms).toBeGreaterThan(0);
    expect(share).toBeGreaterThan(0);
    // One process exchanges nothing, others do, and no more is hidden than there is.
    expect(exchangeMs > 0).toBe(mesh !== "one");
    expect(hidden).toBeGreaterThanOrEqual(0);
    expect(hidden).toBeLessThanOrEqual(1);
  }
  expect(collectives).toHaveLength(12);
  for (const { shareOfMpi, shareOfCopy } of collectives) {
    expect(shareOfMpi).toBeGreaterThan(0);
    expect(shareOfCopy).toBeGreaterThan(0);
  }
});
