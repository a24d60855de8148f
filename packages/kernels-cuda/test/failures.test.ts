/** What is left when a GPU fails: an error for what depended on it, and the process, host tensors and the CPU. */
import { join } from "node:path";
import { testBusyWorkers } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { runChild } from "./child.js";

const DEVICE = `te.setDevice("cuda");
const say = async (what, body) => {
  try { console.log(what, JSON.stringify(await body())); }
  catch (error) { console.log(what, error.code, error.message.split("\\n")[0]); }
};`;

describe("a kernel that accesses memory that is not there", () => {
  test("rejects the reads, refuses what comes later, and leaves the CPU at work", () => {
    const [before, ...lines] = runChild(
      `${DEVICE}
      const x = te.tensor([1, 2, 3]);
      await say("before", async () => Array.from(await x.data()));
      const y = te.add(x, x);
      await say("result", async () => Array.from(await y.data()));
      await say("operand", async () => Array.from(await x.data()));
      await say("later", async () => Array.from(await te.add(te.tensor([1]), te.tensor([2])).data()));
      te.setDevice("cpu");
      await say("cpu", async () => Array.from(await te.add(te.tensor([1]), te.tensor([2])).data()));`,
      { TE_EMU_FAIL: "elementwise" },
    );
    expect(before).toBe("before [1,2,3]");
    expect(lines.pop()).toBe("cpu [3]");
    expect(lines.map((line) => line.split(" ")[0])).toEqual(["result", "operand", "later"]);
    for (const line of lines)
      expect(line).toMatch(/backend the GPU failed: .*Start the process again to use the GPU\.$/);
  });

  test("is the same where nobody reads and the process just ends", () => {
    expect(
      runChild(`${DEVICE} te.add(te.tensor([1]), te.tensor([2])); console.log("end");`, { TE_EMU_FAIL: "elementwise" }),
    ).toEqual(["end"]);
  });
});

describe("a GPU without room", () => {
  test("says what was asked for, and goes on with what fits", () => {
    const lines = runChild(
      `${DEVICE}
      await say("large", async () => te.zeros([1 << 26]).data());
      await say("small", async () => Array.from(await te.add(te.tensor([1]), te.tensor([2])).data()));`,
      { TE_EMU_MEMORY: String(64 << 20) },
    );
    expect(lines[0]).toMatch(/^large memory .*cannot allocate 268\.4 MB: .* the GPU has 67\.1 MB/);
    expect(lines[1]).toBe("small [3]");
  });
});

describe("what ends while the GPU works", () => {
  const path = join(import.meta.dirname, "../../../native/build/te_cuda_emulated.node");
  testBusyWorkers(`require(${JSON.stringify(path)}).open(0)`);

  test("a process that exits does so with its own code", () => {
    const lines = runChild(
      `te.setDevice("cuda");
      const twice = te.jit((x) => te.add(te.mul(x, 2), te.take(x, te.tensor([0, 1, 2], { dtype: "int32" }))));
      setTimeout(() => { console.log("exit"); process.exit(0); }, 100);
      for (let x = te.tensor([1, 2, 3]), i = 0; ; i++) {
        x = twice(x);
        if (i % 7 === 0) x.data().catch(() => {});
        if (i % 11 === 0) await new Promise((next) => setImmediate(next));
      }`,
      {},
    );
    expect(lines).toEqual(["exit"]);
  });
});
