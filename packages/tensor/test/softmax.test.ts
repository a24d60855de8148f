/** S01: softmax and its relatives row by row against float64, with masks, and with logits very far up or down. */
import "@te/kernels-cpu";
import {
  crossEntropy,
  type DType,
  full,
  grad,
  jit,
  logSoftmax,
  logsumexp,
  softmax,
  TeError,
  type Tensor,
  tensor,
  vjp,
  where,
  zeros,
} from "@te/tensor";
import { crossEntropyOp, FLOATS } from "@te/tensor/op";
import { errorN, expectClose, fillArray, forSize, limitOf, onEachDevice, toTensor, valuesOf } from "@te/testkit";
import { describe, expect, test } from "vitest";

type Visible = (b: number, query: number, key: number) => boolean;

const normal = (shape: readonly number[], dtype: DType, seed: string): Tensor =>
  toTensor(fillArray({ kind: "normal", shape, dtype }, seed));

/** softmax(scale * x) over the visible keys; a row without any gives zeros. */
function masked(x: Tensor, scale: number, visible: Tensor): Tensor {
  const any = visible.any(-1, { keepDims: true }).broadcastTo(visible.shape);
  const logits = where(visible.logicalOr(any.logicalNot()), x.mul(scale), Number.NEGATIVE_INFINITY);
  return where(any, softmax(logits), 0);
}

interface Row {
  readonly y: Float64Array;
  readonly dx: Float64Array;
}

/** y and dx of one row, in float64. */
function exact(x: Float64Array, dy: Float64Array, scale: number, visible: (j: number) => boolean): Row {
  const e = x.map((value, j) => (visible(j) ? Math.exp(scale * value) : 0));
  const total = e.reduce((a, b) => a + b) || 1;
  const y = e.map((value) => value / total);
  const mean = y.reduce((sum, p, j) => sum + p * dy[j]!, 0);
  return { y, dx: y.map((p, j) => scale * p * (dy[j]! - mean)) };
}

describe("S01", () => {
  const SCALE = 0.25; // a power of two: scaling rounds nothing in any dtype
  const kinds: [string, (shape: readonly number[]) => Visible][] = [
    ["scaled", () => () => true],
    ["masked", () => (b, i, j) => (b + 3 * i + 5 * j) % 4 !== 0],
    [
      "causal",
      ([, , rows, columns]) =>
        (_, i, j) =>
          j - i <= columns! - rows!,
    ],
  ];

  onEachDevice((device) => {
    const small = [
      [2, 4, 16, 16],
      [1, 2, 17, 32],
    ];
    const shapes = device === "reference" ? small : [...small, [1, 4, 270, 256], [2, 8, 8, 16384]];
    describe.each(kinds)("%s", (_, kind) => {
      test.each(shapes.map((shape) => [shape]))("%j", (shape) => {
        for (const dtype of FLOATS) check(shape as Shape, dtype, kind(shape));
      });
    });
  });

  type Shape = [batch: number, heads: number, rows: number, columns: number];

  function check(shape: Shape, dtype: DType, visible: Visible): void {
    const [batch, heads, rows, columns] = shape;
    const bits = Uint8Array.from({ length: batch * rows * columns }, (_, at) =>
      Number(visible(Math.floor(at / columns / rows), Math.floor(at / columns) % rows, at % columns)),
    );
    const mask = tensor(bits, { shape: [batch, 1, rows, columns], dtype: "bool" }).broadcastTo(shape);
    const x = normal(shape, dtype, "x");
    const dy = normal(shape, dtype, "dy");
    const run = jit((a: Tensor, g: Tensor): [Tensor, Tensor] => {
      const [y, pull] = vjp((t: Tensor) => masked(t, SCALE, mask), a) as [Tensor, (g: Tensor) => Tensor[]];
      return [y, pull(g)[0]!];
    });
    const [y, dx] = run(x, dy);
    const [xs, dys, ys, dxs] = [x, dy, y, dx].map((t) => Float64Array.from(valuesOf(t).values));
    for (let row = 0; row < batch * heads * rows; row++) {
      const cut = (all: Float64Array | undefined): Float64Array => all!.subarray(row * columns, (row + 1) * columns);
      const seen = (j: number): boolean => visible(Math.floor(row / rows / heads), row % rows, j);
      checkRow(dtype, cut(ys), cut(dxs), exact(cut(xs), cut(dys), SCALE, seen), seen);
    }
  }

  function checkRow(dtype: DType, y: Float64Array, dx: Float64Array, wanted: Row, seen: (j: number) => boolean): void {
    const count = y.filter((_, j) => seen(j)).length;
    y.forEach((p, j) => {
      if (!seen(j) && (p !== 0 || dx[j] !== 0)) expect.fail(`hidden key ${j} has weight ${p}, gradient ${dx[j]}`);
    });
    if (count === 0) return;
    expect(Math.abs(y.reduce((a, b) => a + b) - 1)).toBeLessThan(2e-3);
    // float16 keeps fewer digits of weights below 2^-14.
    const digits = dtype === "float16" && count > 2 ** 13 ? 3 : 1;
    const limit = forSize(limitOf("softmax", dtype), count).n * digits;
    expect(errorN(y, wanted.y)).toBeLessThan(limit);
    // dx rounds twice: it comes from the rounded y. A row that sees one key has no gradient but for rounding.
    if (count > 1) expect(errorN(dx, wanted.dx)).toBeLessThan(limit * Math.SQRT2);
    else expect(Math.max(...dx.map(Math.abs))).toBeLessThan(limit);
  }
});

describe("functions", () => {
  onEachDevice(() => {
    const x = tensor([
      [1, 2, 3],
      [0.5, -1, 4],
    ]);
    test("softmax along any axis", async () => {
      expectClose(softmax(x.at(0)), [0.0900306, 0.2447285, 0.665241], "softmax");
      const columns = softmax(x, 0);
      expect(await columns.sum(0).toArray()).toEqual([1, 1, 1].map((one) => expect.closeTo(one, 6)));
    });

    test("logSoftmax and logsumexp agree", async () => {
      const whole = x.sub(logsumexp(x, 1, { keepDims: true }));
      expectClose(logSoftmax(x), whole, "softmax");
      const columns = [Math.log(Math.E + Math.exp(0.5)), 2.04858735, 4.31326169];
      expect(await logsumexp(x, 0).toArray()).toEqual(columns.map((y) => expect.closeTo(y, 5)));
    });

    test("crossEntropy is the negative logarithm of the label's probability", async () => {
      const loss = crossEntropy(x, tensor([2, 0], { dtype: "int32" }));
      expect(await loss.toArray()).toEqual([expect.closeTo(0.40760596, 6), expect.closeTo(3.53627, 4)]);
    });

    // float32 holds the logarithm of the sum beside none of these.
    describe.each([-1e6, -1e9, -1e30, -3.4028234663852886e38, 1e9])("a row of seven times %f", (level) => {
      const row = full([1, 7], level);
      const labels = tensor([2], { dtype: "int32" });
      const seventh = expect.closeTo(1 / 7, 6);
      const dy = tensor([[1, 2, 3, 4, 5, 6, 7]]);

      test("is uniform", async () => {
        expect(await softmax(row).toArray()).toEqual([Array(7).fill(seventh)]);
        expect(await logSoftmax(row).toArray()).toEqual([Array(7).fill(expect.closeTo(-Math.log(7), 5))]);
        expect(await crossEntropy(row, labels).toArray()).toEqual([expect.closeTo(Math.log(7), 5)]);
      });

      test("has gradients that know it", async () => {
        const of = async (f: (x: Tensor) => Tensor): Promise<unknown> => grad((x: Tensor) => f(x).sum())(row).toArray();
        expect(await of((x) => logsumexp(x))).toEqual([Array(7).fill(seventh)]);
        const dloss = Array.from({ length: 7 }, (_, j) => expect.closeTo(1 / 7 - Number(j === 2), 6));
        expect(await of((x) => crossEntropy(x, labels))).toEqual([dloss]);
        const rising = [1, 2, 3, 4, 5, 6, 7];
        expect(await of((x) => softmax(x).mul(dy))).toEqual([rising.map((g) => expect.closeTo((g - 4) / 7, 6))]);
        expect(await of((x) => logSoftmax(x).mul(dy))).toEqual([rising.map((g) => expect.closeTo(g - 4, 5))]);
      });
    });

    test("the log-sum-exp of crossEntropy has the gradient of logsumexp", () => {
      const labels = tensor([2, 0], { dtype: "int32" });
      const joint = (x: Tensor): Tensor => {
        const { loss, max, sum } = crossEntropyOp({ logits: x, labels });
        return loss.add(max.add(sum.log()).pow(2)).sum();
      };
      const apart = (x: Tensor): Tensor => crossEntropy(x, labels).add(logsumexp(x).pow(2)).sum();
      expectClose(grad(joint)(x), grad(apart)(x), "composed");
      expect(() => grad((x: Tensor) => crossEntropyOp({ logits: x, labels }).max.sum())(x)).toThrow(
        /max \+ log\(sum\)/,
      );
    });

    test.each([3, -1])("label %i of 3 classes is an error that names it", async (label) => {
      const labels = tensor([0, label], { dtype: "int32" });
      const error = await (async () => crossEntropy(x, labels).toArray())().catch((e: unknown) => e);
      expect(TeError.is(error) && error.code).toBe("index");
      expect((error as Error).message).toBe(
        `crossEntropy: every label must be in [0, 2], got ${label} at position 1. Replace it and give its row no weight.`,
      );
      const slope = grad((logits: Tensor) => crossEntropy(logits, labels).sum())(x) as Tensor;
      await expect(slope.data()).rejects.toThrow(/^crossEntropy: every label must be in \[0, 2\]/);
    });
  });

  test("errors name what is wrong", () => {
    const labels = zeros([2], { dtype: "int32" });
    expect(() => softmax(zeros([3], { dtype: "int32" }))).toThrow(/softmax: x must be floating/);
    expect(() => softmax(zeros([]))).toThrow(/axis/);
    expect(() => crossEntropy(zeros([3, 4]), labels)).toThrow(/labels must have shape \[3\]/);
    expect(() => softmax(zeros([2, 3]), 2)).toThrow(/axis must be an integer in \[-2, 2\)/);
  });
});
