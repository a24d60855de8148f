/** E01: training learns to look values up. At full size where there are kernels; a smaller task on the reference. */
import { setDevice } from "@te/tensor";
import { presentDevices } from "@te/testkit";
import { afterAll, describe, expect, test } from "vitest";
import { FULL, trainLookup } from "./lookup-task.js";

afterAll(() => setDevice("auto"));

describe("E01 associative lookup", () => {
  test.runIf(presentDevices().includes("cpu"))("float32, 200 steps", async () => {
    setDevice("cpu");
    expect(await trainLookup(FULL, 0)).toBeGreaterThanOrEqual(0.99);
  });

  test("on the reference, a smaller task", async () => {
    setDevice("reference");
    const small = { ...FULL, batch: 32, length: 8, shortest: 2, longest: 4, width: 32, steps: 100, learningRate: 5e-3 };
    const accuracy = await trainLookup(small, 0);
    expect(accuracy).toBeGreaterThan(0.85);
  });
});
