/** Rotary embedding and T5 buckets at numbers worked out by hand. */
import { random, type Tensor, tensor } from "@te/tensor";
import { onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { RelativePositionBiases, rope } from "../src/index.js";

onEachDevice(() => {
  describe("rope", () => {
    const x = tensor([1, 2, 3, 4]).reshape([1, 1, 1, 4]).broadcastTo([1, 3, 1, 4]);
    const rows = {
      alternate: [
        [1, 2, 3, 4],
        [-1.98411065, 1.95990067, 2.4623779, 4.01979967],
        [-3.14403912, 1.91960535, -0.33914308, 4.03919736],
      ],
      consecutive: [
        [1, 2, 3, 4],
        [-1.14263966, 1.9220756, 2.95985067, 4.0297995],
        [-2.23474169, 0.07700375, 2.91940535, 4.05919603],
      ],
    };
    test.each(["alternate", "consecutive"] as const)("%s", (method) => {
      const y = rope(x, { method, windowMin: 1, windowMax: 10000, sequenceAxis: 1 }) as Tensor;
      expect(y.reshape([3, 4])).toBeAllclose(rows[method], { atol: 1e-6 });
    });
  });

  describe("T5 buckets, 32 up to a distance of 128", () => {
    const bidirectional: [number, number][] = [
      [-200, 15],
      [-128, 15],
      [-100, 15],
      [-64, 14],
      [-32, 12],
      [-20, 10],
      [-16, 10],
      [-12, 9],
      [-9, 8],
      [-8, 8],
      [-7, 7],
      [-1, 1],
      [0, 0],
      [1, 17],
      [7, 23],
      [8, 24],
      [12, 25],
      [16, 26],
      [32, 28],
      [64, 30],
      [100, 31],
      [200, 31],
    ];
    const backward: [number, number][] = [
      [-200, 31],
      [-128, 31],
      [-100, 30],
      [-64, 26],
      [-32, 21],
      [-20, 17],
      [-16, 16],
      [-12, 12],
      [-1, 1],
      [0, 0],
      [5, 0],
      [200, 0],
    ];
    test.each([
      [true, bidirectional],
      [false, backward],
    ] as const)("bidirectional %s", (both, pairs) => {
      const module = new RelativePositionBiases({ numBuckets: 32, maxDistance: 128, numAttentionHeads: 1 });
      const table = tensor([Array.from({ length: 32 }, (_, i) => i)]);
      const bias = module.apply({ params: { rel_embedding: table } }, 201, 201, { bidirectional: both });
      const values = bias.dataSync();
      for (const [distance, bucket] of pairs) {
        const [query, key] = distance < 0 ? [-distance, 0] : [0, distance];
        expect(values[query * 201 + key], `key - query = ${distance}`).toBe(bucket);
      }
    });

    test("lengths may differ; the result has the dtype of the parameter", () => {
      const module = new RelativePositionBiases({
        numBuckets: 8,
        maxDistance: 16,
        numAttentionHeads: 3,
        dtype: "bfloat16",
      });
      const bias = module.apply(module.init(random.key(0), 2, 5), 2, 5);
      expect([bias.shape, bias.dtype]).toEqual([[1, 3, 2, 5], "bfloat16"]);
    });
  });
});
