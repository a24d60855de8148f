/** How processes end when one of them goes wrong, and how soon. */
import { join } from "node:path";
import { type Ended, STARTERS } from "@te/testkit";
import { describe, expect, test } from "vitest";

const child = join(import.meta.dirname, "faults-child.ts");
const limits = { timeout: 120_000 };

describe.each(STARTERS)("$name", ({ name: starter, missing, run }) => {
  if (missing) {
    test.skip(missing);
    return;
  }

  async function fall(fault: string, seconds: number, env: NodeJS.ProcessEnv): Promise<Ended> {
    const ended = await run(4, child, [fault], env);
    expect(ended.code, ended.output).not.toBe(0);
    expect(ended.secondsAfterFault, ended.output).toBeGreaterThan(0);
    expect(ended.secondsAfterFault, ended.output).toBeLessThan(seconds);
    expect(ended.output).not.toContain("3 is done");
    return ended;
  }
  const soon = (fault: string) => fall(fault, 15, { TE_COLLECTIVE_TIMEOUT: "3" });

  test("one that is killed in a collective ends all", limits, async () => {
    const { output } = await soon("kill");
    expect(output).toMatch(starter === "MPICH" ? /EXIT CODE: 9/ : /process rank 3 .* exited on signal 9/);
  });

  test("one that stops is named", limits, async () => {
    const { output, secondsAfterFault } = await soon("stop");
    expect(secondsAfterFault).toBeGreaterThan(1.5); // the others may have waited for a while when it stops
    expect(output).toMatch(/all_reduce for shard_map of program [0-9a-f]{8} on rank 1: rank 3 sent nothing for 3 s/);
  });

  test.runIf(process.env.TE_SLOW === "1")("one that stops ends all within 30 seconds by default", limits, async () => {
    const { output, secondsAfterFault } = await fall("stop", 30, { TE_COLLECTIVE_TIMEOUT: "" });
    expect(secondsAfterFault).toBeGreaterThan(12);
    expect(output).toContain("rank 3 sent nothing for 25 s");
  });

  test("processes that share no group compare their programs too", limits, async () => {
    const { output } = await soon("half");
    expect(output).toMatch(
      /TeError: processes run different programs: ranks 0, 2 run step, ranks 1, 3 run evaluate. Step 1 is the first that differs: "%1: float32\[64,64\].* = mul\(%0, %0\)", ".* = fill\(\) .*". All processes must run the same/,
    );
  });

  test("one that runs a program of its own is named, and its function by itself", limits, async () => {
    const { output } = await soon("extra");
    expect(output).toMatch(
      /rank 3 is at the first run of a program: all|the first run of a program, evaluate, on rank 3: rank [0-2] is at /,
    );
  });
});
