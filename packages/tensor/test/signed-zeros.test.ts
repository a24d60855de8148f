/** Of 0 and -0 every extreme is 0, on every device and in whatever order it meets them. */
import "@te/kernels-cpu";
import { type Tensor, tensor } from "@te/tensor";
import { FLOATS } from "@te/tensor/op";
import { onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";

const numbers = (t: Tensor): number[] => Array.from(t.astype("float32").dataSync());

onEachDevice(() => {
  describe.each(FLOATS)("%s", (dtype) => {
    const rows = [
      [0, -0, 0, -0],
      [-0, 0, -0, 0],
      [-0, -0, -0, -0],
      [0, 0, 0, 0],
    ];
    const x = tensor(rows, { dtype });
    const zeros = [0, 0, 0, 0];

    test("maximum and minimum", () => {
      for (const y of [x.maximum(x.at(0)), x.minimum(x.at(0)), x.maximum(-0), x.minimum(-0), x.clip(-1, 1)])
        expect(numbers(y)).toEqual([...zeros, ...zeros, ...zeros, ...zeros]);
    });

    test("max and min over either axis, in short rows and long", () => {
      for (const axis of [0, 1]) {
        expect(numbers(x.max(axis))).toEqual(zeros);
        expect(numbers(x.min(axis))).toEqual(zeros);
      }
      const long = tensor(
        Float32Array.from({ length: 5000 }, (_, i) => (i % 3 ? -0 : 0)),
        { dtype },
      );
      expect(numbers(long.max())).toEqual([0]);
      expect(numbers(long.min())).toEqual([0]);
    });
  });
});
