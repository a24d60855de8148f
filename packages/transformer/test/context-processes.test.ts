/** Layers over a context-parallel axis of processes: their losses are those of one device. */
import { join } from "node:path";
import { runAlone, STARTERS } from "@te/testkit";
import { describe, expect, test } from "vitest";

const child = join(import.meta.dirname, "context-child.ts");

const lossesOf = (output: string): number[][] =>
  [...output.matchAll(/^\d of \d: (.*)$/gm)].map(([, losses]) => losses!.split(" ").map(Number));

let known: Promise<number[] | undefined> | undefined;
/** The losses of one device. */
const alone = () => {
  known ??= runAlone(child, ["one", "ALL_GATHER", "in order"]).then(({ output }) => lossesOf(output)[0]);
  return known;
};

describe.each(STARTERS)("$name", ({ missing, run }) => {
  if (missing) {
    test.skip(missing);
    return;
  }
  test.each([
    ["cp2", "RING", "balanced", 2],
    ["cp2", "RING", "in order", 2],
    ["cp2", "ALL_GATHER", "balanced", 2],
    ["tp2 x cp2", "RING", "balanced", 4],
  ] as const)("%s, %s, %s", { timeout: 120_000 }, async (name, strategy, order, count) => {
    const many = await run(count, child, [name, strategy, order]);
    expect(many.code, many.output).toBe(0);
    const whole = await alone();
    const losses = lossesOf(many.output);
    expect(losses).toHaveLength(count);
    expect(whole).toHaveLength(4);
    expect(whole![3]).toBeLessThan(whole![0]! - 1e-3);
    for (const each of losses) each.forEach((loss, i) => expect(Math.abs(loss - whole![i]!)).toBeLessThan(2e-6));
  });
});
