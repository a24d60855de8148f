/** The evaluator as a device: memory of values that nobody reads any more is given back while a program runs. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { jit, setDevice, type Tensor, zeros } from "@te/tensor";
import { defineOp, wholeRule } from "@te/tensor/op";
import { afterAll, beforeAll, expect, test } from "vitest";

const MIB = 2 ** 20;
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
const held: number[] = [];

/** y = 0; writes down how much memory arrays hold. */
const holds = defineOp("evaluator_holds", {
  inputs: ["x"],
  outputs: ["y"],
  params: {},
  shape: () => ({ y: { shape: [], dtype: "float32" as const } }),
  sharding: wholeRule,
  evaluate: () => {
    collect();
    collect(); // the second waits for the sweeping of the first
    held.push(process.memoryUsage().arrayBuffers / MIB);
  },
});

beforeAll(() => setDevice("reference"));
afterAll(() => setDevice("auto"));

test("a chain of twenty values holds few at a time, and views hold none", async () => {
  const chain = (x: Tensor) => {
    let y = x.add(1);
    const before = holds({ x: y }).y;
    for (let i = 0; i < 20; i++) y = y.add(1).reshape(i % 2 ? [2 ** 18] : [2 ** 9, 2 ** 9]);
    return [before, holds({ x: y }).y];
  };
  await (jit(chain)(zeros([2 ** 18])) as Tensor[])[1]!.data();
  expect(held[1]! - held[0]!).toBeLessThan(3);
});

test("results are never one memory", async () => {
  const results = jit((x: Tensor) => {
    const y = x.add(1);
    return [x, x.reshape([2, 2]), y, y.reshape([2, 2])];
  })(zeros([4])) as Tensor[];
  results[0]!.dispose();
  results[2]!.dispose();
  expect([await results[1]!.toArray(), await results[3]!.toArray()]).toEqual([
    [
      [0, 0],
      [0, 0],
    ],
    [
      [1, 1],
      [1, 1],
    ],
  ]);
});
