/** S01: softmax, scaled, masked and causal, row by row against float64, forward and backward. */
import { softmax, type Tensor, vjp, where } from "@te/tensor";
import { FLOATS } from "@te/tensor/op";
import { errorN, limitOf, onEachDevice, valuesOf } from "@te/testkit";
import { describe, expect, test } from "vitest";
import "../src/index.js";
import { maskOf, normals } from "@te/testkit";

const shapes = [
  [2, 4, 16, 16],
  [1, 2, 17, 32],
  [1, 2, 30, 270],
  [1, 2, 2, 16384],
] as const;

onEachDevice(() => {
  describe.each(["scaled", "masked", "causal"])("S01 %s", (kind) => {
    test.each(FLOATS)("%s", (dtype) => {
      for (const [b, h, rows, columns] of shapes) {
        const x = normals([b, h, rows, columns], { dtype });
        const dy = normals(x.shape, { seed: "dy", dtype });
        const sees = (i: number, j: number): boolean =>
          kind === "scaled" || (kind === "masked" ? j % 3 !== 1 : j <= i + columns - rows);
        const mask = maskOf([b, rows, columns], (_, i, j) => !sees(i, j)).astype("bool");
        const call = (x: Tensor): Tensor => {
          const wide = x.astype("float32").mul(0.5);
          return softmax(kind === "scaled" ? wide : where(mask.broadcastTo(x.shape), -Infinity, wide)).astype(dtype);
        };
        const [y, pull] = vjp(call, x);
        const [dx] = pull(dy) as [Tensor];
        const [xs, ys, ds, gs] = [x, y, dy, dx].map((t) => valuesOf(t).values);
        for (let row = 0; row < b * h * rows; row++) {
          const at = row * columns;
          const visible = Array.from({ length: columns }, (_, j) => sees(row % rows, j));
          const weights = visible.map((seen, j) => (seen ? Math.exp(0.5 * xs![at + j]!) : 0));
          const total = weights.reduce((a, c) => a + c, 0);
          const p = weights.map((w) => w / total);
          const mean = p.reduce((sum, w, j) => sum + w * ds![at + j]!, 0);
          const slope = p.map((w, j) => 0.5 * w * (ds![at + j]! - mean));
          const part = (v: ArrayLike<number>) => Array.prototype.slice.call(v, at, at + columns) as number[];
          const n = 2 * limitOf("softmax", dtype).n;
          if (errorN(part(ys!), p) > n || errorN(part(gs!), slope) > 2 * n) {
            expect.fail(
              `row ${row} of [${x.shape}]: N = ${errorN(part(ys!), p)} and ${errorN(part(gs!), slope)}, limit ${n}`,
            );
          }
          if (Math.abs(part(ys!).reduce((a, c) => a + c, 0) - 1) > 2e-3) expect.fail(`row ${row} must sum to 1`);
          if (visible.some((seen, j) => !seen && ys![at + j] !== 0)) expect.fail(`row ${row}: a masked entry is not 0`);
        }
      }
    });
  });
});
