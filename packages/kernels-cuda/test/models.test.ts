/**
 * Train steps of models of the shapes of GPT-2, Llama, BERT and T5 on the device "cuda": the losses of the CPU, in every
 * precision and recipe, and from the first kernel to the last on the GPU.
 */
import "./emulated.js";
import "@te/kernels-cpu";
import { cudaAvailable, type KernelTiming, profile } from "@te/kernels-cuda";
import { setDevice, type Tensor, tree } from "@te/tensor";
import type { TransformerLayerOptions } from "@te/transformer";
import { afterAll, describe, expect, test } from "vitest";
import { PRECISIONS, type Precision, SHAPES, training } from "./models.js";

const SIZE = { hidden: 32, batch: 2, length: 16 };

/**
 * Relative, two to three times what orders of rounding do in two steps. A float8 value that rounds the other way moves a loss
 * further than one of 16 bits. Dropout draws the same bits everywhere.
 */
const LIMITS: Readonly<Record<string, number>> = {
  float32: 1e-6,
  bfloat16: 5e-3,
  float16: 1e-3,
  "delayed scaling": 3e-2,
  "current scaling": 1.2e-2,
} satisfies Record<keyof typeof PRECISIONS, number>;

/** The losses of two steps on a device, and the kernels of the second. */
async function train(device: string, options: TransformerLayerOptions, precision: Precision) {
  setDevice(device);
  const { state: first, step } = training(options, SIZE, precision);
  let state = first;
  const losses: number[] = [];
  let kernels: KernelTiming[] = [];
  for (let i = 0; i < 2; i++) {
    kernels = await profile(async () => {
      let loss: Tensor;
      [state, loss] = step(state, i);
      losses.push((await loss.data())[0] as number);
    });
  }
  for (const leaf of tree.leaves(state)) (leaf as Tensor).dispose();
  return { losses, kernels };
}

afterAll(() => setDevice("auto"));

describe.skipIf(!cudaAvailable().available).each(Object.entries(SHAPES))(
  "a train step of the shape of %s",
  (shape, options) => {
    test.each(Object.entries(PRECISIONS))("in %s", async (name, precision) => {
      const expected = await train("cpu", options, precision);
      const { losses, kernels } = await train("cuda", options, precision);
      losses.forEach((loss, i) => expect(Math.abs(loss / expected.losses[i]! - 1)).toBeLessThan(LIMITS[name]!));
      // A stretch on the host would cut the step into several programs.
      expect(new Set(kernels.map(({ program }) => program)).size).toBe(1);
      const ops = kernels.map(({ op }) => op);
      if (options.enableRotaryPosEmb) {
        // Queries and keys turn where they lie, beside the values: once in each layer, or apart with fewer heads of keys.
        expect(ops.filter((op) => ["slice", "pad", "concat"].includes(op))).toEqual([]);
        expect(ops.filter((op) => op === "rope").length).toBe(2 * 2 * (options.numGqaGroups ? 2 : 1));
      }
      if (shape === "GPT-2" && ["bfloat16", "float16"].includes(name)) {
        // Of each layer: the activation, its derivative and the gradient of a bias are no kernels of their own.
        expect(ops.filter((op) => op.startsWith("dot_activation")).length).toBe(4);
        expect(ops.filter((op) => op.startsWith("gated_activation"))).toEqual([]);
      }
    });
  },
);
