/** Rows about meshes as behaviours that compute: on virtual devices of one process, and on four processes. */
import { join } from "node:path";
import { runAlone, STARTERS } from "@te/testkit";
import { expect, test } from "vitest";

const child = join(import.meta.dirname, "meshes-child.ts");
const ROWS = ["MeshResource", "logical axes", "extendLogicalAxisRules"];
const limit = { timeout: 120_000 };

const alone = process.env.TE_KERNELS === "off" ? undefined : runAlone(child);

test.each(ROWS)("virtual devices: %s", limit, async (row) => {
  const { output } = await (alone ?? runAlone(child));
  expect(output).toContain(`${row} computes on 1`);
});

const starter = STARTERS.find(({ missing }) => !missing);
if (!starter) test.skip(`processes: ${STARTERS[0]!.missing}`);
else
  test("processes: every one has what one device computes", limit, async () => {
    const { code, output } = await starter.run(4, child);
    expect(code, output).toBe(0);
    for (const row of ROWS) expect(output.split(`${row} computes on 4`)).toHaveLength(5);
  });
