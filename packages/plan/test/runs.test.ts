/** What plans say against what runs take: memory, and bytes that are sent, of steps on virtual devices and on processes. */
import { join } from "node:path";
import { runAlone, STARTERS } from "@te/testkit";
import { describe, expect, test } from "vitest";
import type { Run } from "./runs-child.js";
import { CONFIGURATIONS } from "./runs-setup.js";

const child = join(import.meta.dirname, "runs-child.ts");
const MINUTES = 5 * 60_000;
const titleOf = ({ mesh, precision, style, checkpoint }: (typeof CONFIGURATIONS)[number]): string =>
  `${mesh} ${precision} ${style}${checkpoint ? " checkpoint" : ""}`;

const runsIn = (output: string): Run[] =>
  [...output.matchAll(/^run (.*)$/gm)].map(([, text]) => JSON.parse(text!) as Run);

/** The configurations whose meshes have so many devices. */
const ofSize = (devices: number): number[] =>
  CONFIGURATIONS.flatMap(({ mesh }, i) =>
    mesh.split(",").reduce((n, axis) => n * Number(axis.split("=")[1]), 1) === devices ? [i] : [],
  );

/** Every configuration has a line of every process, whose peak is within 5 percent of what was planned. */
function expectMemory(runs: readonly Run[], indices: readonly number[], processes: number): void {
  expect(runs).toHaveLength(indices.length * processes);
  for (const index of indices) {
    const own = runs.filter((run) => run.index === index);
    expect(own.map(({ rank }) => rank).sort()).toEqual(Array.from({ length: processes }, (_, rank) => rank));
    for (const { memory } of own) {
      const title = `${titleOf(CONFIGURATIONS[index]!)}: ${JSON.stringify(memory)}`;
      expect(memory.planned / memory.counted, title).toBeGreaterThan(0.95);
      expect(memory.planned / memory.counted, title).toBeLessThan(1.05);
    }
  }
}

test("memory of all devices in one process is within 5 percent of the plan", { timeout: MINUTES }, async ({ skip }) => {
  if (process.env.TE_KERNELS === "off") skip("memory is that of native kernels, and TE_KERNELS=off");
  const all = CONFIGURATIONS.map((_, i) => i);
  const { code, output } = await runAlone(child, ["alone", ...all.map(String)]);
  expect(code, output).toBe(0);
  expectMemory(runsIn(output), all, 1);
});

/** Bytes do not depend on whose MPI it is. */
const { name, missing, run } = STARTERS.find((starter) => !starter.missing) ?? STARTERS[0]!;

describe(`processes of ${name}`, () => {
  if (missing) test.skip(missing);
  else
    test.each([2, 4])(
      "memory of each of %i is within 5 percent of the plan, and bytes that it sends are those of the plan",
      { timeout: MINUTES },
      async (processes) => {
        const indices = ofSize(processes);
        expect(indices.length).toBeGreaterThan(2);
        const { code, output } = await run(processes, child, ["together", ...indices.map(String)]);
        expect(code, output).toBe(0);
        const runs = runsIn(output);
        expectMemory(runs, indices, processes);
        for (const { index, sent } of runs) expect(sent.counted, titleOf(CONFIGURATIONS[index]!)).toEqual(sent.planned);
      },
    );
});
