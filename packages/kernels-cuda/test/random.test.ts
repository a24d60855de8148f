/** Random bits and masks of odd sizes on the GPU, and rope at large positions. */

import { dropout } from "@te/layers";
import { random, setDevice, type Tensor, tensor } from "@te/tensor";
import { rope } from "@te/transformer";
import { afterAll, describe, expect, test } from "vitest";
import { expectSameBits, integers, numbers } from "./against-reference.js";

afterAll(() => setDevice("auto"));

test("bits and keys", async () => {
  await expectSameBits(() => {
    const key = random.key(7);
    return [
      random.bits(key, [70001]),
      random.bits(key, [7001], { width: 16 }),
      random.bits(key, [70001], { width: 8 }),
      random.split(key, 1001)[1000]!,
      random.foldIn(key, 12345),
    ];
  });
});

test.each<[shape: number[], broadcastDims: number[]]>([
  [[5001], []],
  [[33, 65], [0]],
  [[33, 65], [1]],
  [
    [3, 17, 5, 9],
    [1, 3],
  ],
  [
    [3, 17, 5, 9],
    [0, 2],
  ],
  [
    [64, 256],
    [0, 1],
  ],
])("dropout of %j with %j shared", async (shape, broadcastDims) => {
  for (const dtype of ["float32", "bfloat16", "float16"] as const)
    await expectSameBits(() => dropout(numbers(shape, dtype), random.key(3), { rate: 0.5, broadcastDims }));
});

describe("rope", () => {
  const LENGTH = 37;
  /** Angles in double of what the op's definition says. */
  function expected(
    x: Float32Array,
    positions: Int32Array,
    heads: number,
    depth: number,
    alternate: boolean,
  ): number[] {
    const y = new Array<number>(x.length);
    const pairs = depth / 2;
    positions.forEach((position, i) => {
      for (let head = 0; head < heads; head++)
        for (let p = 0; p < pairs; p++) {
          const at = (i * heads + head) * depth;
          const [a, b] = alternate ? [at + p, at + p + pairs] : [at + 2 * p, at + 2 * p + 1];
          const turns = position / 10000 ** (p / pairs) / (2 * Math.PI);
          const angle = (turns - Math.round(turns)) * 2 * Math.PI;
          const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
          y[a] = x[a]! * cos - x[b]! * sin;
          y[b] = x[b]! * cos + x[a]! * sin;
        }
    });
    return y;
  }
  test.each<[heads: number, depth: number]>([
    [1, 2],
    [5, 14],
    [3, 64],
    [40, 32],
  ])("%i heads of %i at positions up to 2^24", async (heads, depth) => {
    setDevice("cuda");
    const positions = integers([LENGTH], 2 ** 25).sub(2 ** 24);
    const x = numbers([1, LENGTH, heads, depth]);
    for (const method of ["consecutive", "alternate"] as const) {
      const y: Tensor = rope(x, { positions, method });
      const wanted = expected(
        (await x.data()) as Float32Array,
        (await positions.data()) as Int32Array,
        heads,
        depth,
        method === "alternate",
      );
      const turned = (await y.data()) as Float32Array;
      const worst = turned.reduce((most, v, i) => Math.max(most, Math.abs(v - wanted[i]!)), 0);
      expect(worst).toBeLessThan(16 * 4e-7);
    }
  });
  test("a position too far is refused in the words of all devices", async () => {
    setDevice("cuda");
    const far = rope(numbers([1, 2, 1, 4]), { positions: tensor([0, 2 ** 24 + 1], { dtype: "int32" }) });
    await expect(far.data()).rejects.toMatchObject({
      code: "index",
      message:
        "rope: every position must be in [-16777216, 16777216], got 16777217 at position 1. Count positions from the start of the sequence.",
    });
  });
});
