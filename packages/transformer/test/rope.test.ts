/** Rotary embedding at known numbers, far positions and the limit; scores depend on distances only. */
import "@te/kernels-cpu";
import { stack, type Tensor, tensor, zeros } from "@te/tensor";
import { expectClose, onEachDevice, valuesOf } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { rope } from "../src/ops/rope.js";

const METHODS = ["consecutive", "alternate"] as const;

onEachDevice(() => {
  describe("rope", () => {
    test.each([
      ["alternate", 1, [-1.98411065, 1.95990067, 2.4623779, 4.01979967]],
      ["alternate", 2, [-3.14403912, 1.91960535, -0.33914308, 4.03919736]],
      ["consecutive", 1, [-1.14263966, 1.9220756, 2.95985067, 4.0297995]],
      ["consecutive", 2, [-2.23474169, 0.07700375, 2.91940535, 4.05919603]],
    ] as const)("%s at position %i", (method, position, expected) => {
      const x = tensor([1, 2, 3, 4]).broadcastTo([1, 3, 1, 4]);
      const y = rope(x, { method }).at(0, position, 0);
      expectClose(y, expected, "op");
    });

    test.each(
      METHODS.flatMap((method) => [99991, 16_777_213, -16_777_213].map((position) => [method, position] as const)),
    )("%s: angles keep their digits at position %i", (method, position) => {
      const pairs = 32;
      const x = tensor(
        Float32Array.from({ length: 2 * pairs }, (_, i) => ((i * 37) % 11) - 5),
        { shape: [1, 1, 1, 2 * pairs] },
      );
      const y = valuesOf(rope(x, { method, positions: tensor([position], { dtype: "int32" }) })).values;
      const at = (i: number): [number, number] => (method === "alternate" ? [i, i + pairs] : [2 * i, 2 * i + 1]);
      const { values } = valuesOf(x);
      for (let i = 0; i < pairs; i++) {
        const angle = position / 10000 ** (i / pairs);
        const [u, v] = at(i).map((k) => values[k]!) as [number, number];
        expect(Math.abs(y[at(i)[0]]! - (u * Math.cos(angle) - v * Math.sin(angle)))).toBeLessThan(2e-5);
        expect(Math.abs(y[at(i)[1]]! - (v * Math.cos(angle) + u * Math.sin(angle)))).toBeLessThan(2e-5);
      }
    });

    test("a position that float32 does not hold is an error where the result is read", async () => {
      const x = tensor([1, 2, 3, 4]).broadcastTo([1, 2, 1, 4]);
      const message = /^rope: every position must be in \[-16777216, 16777216\], got 16777217 at position 1\. Count/;
      const y = rope(x, { positions: tensor([0, 16_777_217], { dtype: "int32" }) });
      await expect(y.data()).rejects.toThrow(message);
    });

    test.each(METHODS)("%s: slots of a packed tensor turn as they would apart, and the others stay", (method) => {
      const [query, key, value] = [1, 2, 3].map((of) =>
        tensor(
          Float32Array.from({ length: 2 * 5 * 3 * 4 }, (_, i) => ((i * 37 * of) % 11) - 5),
          { shape: [2, 5, 3, 4] },
        ),
      ) as [Tensor, Tensor, Tensor];
      const y = rope(stack([query, key, value], 2), { method, slots: 2 });
      [rope(query, { method }), rope(key, { method }), value].forEach((expected, slot) => {
        expect(valuesOf(y.at(":", ":", slot)).values).toEqual(valuesOf(expected).values);
      });
    });

    test("refuses slots that there are not", () => {
      const [packed, apart] = [zeros([1, 2, 3, 1, 4]), zeros([1, 2, 1, 4])];
      expect(() => rope(packed, { slots: 4 })).toThrow("rope: slots must be at most 3, got 4");
      for (const slots of [-1, 1.5])
        expect(() => rope(packed, { slots })).toThrow("slots must be an integer of 0 or more");
      expect(() => rope(packed)).toThrow("x must have 4 axes, [batch, length, heads, depth], of even depth");
      expect(() => rope(apart, { slots: 1 })).toThrow("x must have 5 axes, [batch, length, slots, heads, depth]");
    });

    test("scores depend on the distance of positions alone", () => {
      const [q, k] = [tensor([[[[1, 2, 3, 4]]]]), tensor([[[[4, -1, 2, 5]]]])];
      const score = (i: number, j: number): number => {
        const turned = (x: Tensor, p: number): ArrayLike<number> =>
          valuesOf(rope(x, { positions: tensor([p], { dtype: "int32" }) })).values;
        const [a, b] = [turned(q, i), turned(k, j)];
        return Array.from(a).reduce((sum, value, e) => sum + value * b[e]!, 0);
      };
      expect(score(7, 3)).toBeCloseTo(score(1004, 1000), 4);
      expect(Math.abs(score(7, 3) - score(7, 4))).toBeGreaterThan(0.1);
    });
  });
});
