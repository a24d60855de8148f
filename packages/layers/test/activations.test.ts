/** A01: activations and their derivatives against formulas written out in float64, single and gated. */
import { concat, type DType, full, type Tensor, tensor, vjp } from "@te/tensor";
import { FLOATS } from "@te/tensor/op";
import { errorN, expectClose, findDifference, limitOf, normals, onEachDevice, valuesOf } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { gatedActivationBackwardOp, gatedActivationOp } from "../src/index.js";

type Formula = (x: number) => number;
const sigmoid: Formula = (x) => 1 / (1 + Math.exp(-x));
const swish =
  (a: number): Formula =>
  (x) =>
    x * sigmoid(a * x);
const geluTanh: Formula = (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

/** erf by its Taylor series, for |x| up to 6. */
function erf(x: number): number {
  let [sum, term] = [x, x];
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}
const geluErf: Formula = (x) => 0.5 * x * (1 + erf(x / Math.SQRT2));

const formulas: Record<string, Formula> = {
  gelu: geluTanh,
  silu: swish(1),
  quick_gelu: swish(1.702),
  relu: (x) => Math.max(x, 0),
  squared_relu: (x) => Math.max(x, 0) ** 2,
  linear: (x) => x,
  sigmoid,
};

/** The slope by central differences; the points avoid the kink at 0. */
const slope = (f: Formula, x: number): number => (f(x + 1e-5) - f(x - 1e-5)) / 2e-5;

/** x in ±8, and normal numbers; rounded to dtype, away from 0. */
function points(dtype: DType): Tensor {
  const grid = Array.from({ length: 512 }, (_, i) => (i - 255.5) / 32);
  const drawn = [...(valuesOf(normals([512])).values as Float64Array)].map((v) => (Math.abs(v) < 1e-3 ? 0.5 : v));
  return tensor([...grid, ...drawn], { dtype });
}

const like = (t: Tensor, values: Float64Array) => ({ shape: t.shape, dtype: t.dtype, values });

onEachDevice(() => {
  describe.each(FLOATS)("A01 %s", (dtype) => {
    const x = points(dtype);
    const xs = valuesOf(x).values as Float64Array;
    const limit = limitOf("activation", dtype);
    // A derivative that passes through zero has no relative precision there; central differences have 1e-9.
    const slopeLimit = { n: limit.n * 2, x: limit.x };

    test.each(Object.entries(formulas))("%s", (name, f) => {
      const call = (u: Tensor) => gatedActivationOp({ u: u.expandDims(0).expandDims(0) }, { activations: [name] }).y;
      const [y, pull] = vjp(call, x);
      expect(findDifference(y, like(y, xs.map(f)), limit)).toBeUndefined();
      const dy = normals(y.shape, { dtype, seed: "dy" });
      const [dx] = pull(dy) as [Tensor];
      const expected = xs.map((v, i) => valuesOf(dy).values[i]! * slope(f, v));
      expect(findDifference(dx, like(dx, expected), slopeLimit)).toBeUndefined();
    });

    test.each(Object.entries(formulas))("%s, gated", (name, f) => {
      const gate = normals(x.shape, { dtype, seed: "gate" });
      const gs = valuesOf(gate).values as Float64Array;
      const call = (u: Tensor, g: Tensor) => {
        const rows = [u, g].map((t) => t.reshape([1, 1, t.size]));
        return gatedActivationOp({ u: concat(rows, 1) }, { activations: [name, "linear"] }).y;
      };
      const [y, pull] = vjp(call, x, gate);
      expect(
        findDifference(
          y,
          like(
            y,
            xs.map((v, i) => f(v) * gs[i]!),
          ),
          limit,
        ),
      ).toBeUndefined();
      const dy = normals(y.shape, { dtype, seed: "dy" });
      const ds = valuesOf(dy).values;
      const [dx, dg] = pull(dy) as [Tensor, Tensor];
      expect(
        findDifference(
          dx,
          like(
            dx,
            xs.map((v, i) => ds[i]! * gs[i]! * slope(f, v)),
          ),
          slopeLimit,
        ),
      ).toBeUndefined();
      expect(
        findDifference(
          dg,
          like(
            dg,
            xs.map((v, i) => ds[i]! * f(v)),
          ),
          limit,
        ),
      ).toBeUndefined();
    });
  });

  test("float32 tells the tanh gelu from the erf gelu and from quick_gelu", () => {
    const x = tensor(Array.from({ length: 1001 }, (_, i) => (i - 500) / 100));
    const y = valuesOf(gatedActivationOp({ u: x.expandDims(0) }, { activations: ["gelu"] }).y).values;
    const xs = valuesOf(x).values as Float64Array;
    const largest = (f: Formula) => Math.max(...xs.map((v, i) => Math.abs(y[i]! - f(v))));
    expect(largest(geluTanh)).toBeLessThan(2e-6);
    expect(largest(geluErf)).toBeGreaterThan(4e-4);
    expect(largest(geluErf)).toBeLessThan(5e-4);
    expect(largest(swish(1.702))).toBeGreaterThan(1.9e-2);
    expect(errorN(y, xs.map(geluErf)), "an erf gelu is out of the limit").toBeGreaterThan(
      10 * limitOf("activation", "float32").n,
    );
  });

  test("vectors", () => {
    const at = (name: string) =>
      gatedActivationOp({ u: tensor([[-2, -1, -0.5, 0, 0.5, 1, 2]]) }, { activations: [name] }).y;
    expect(at("gelu")).toBeAllclose([-0.0454023, -0.158808, -0.154286, 0, 0.345714, 0.841192, 1.9545977], {
      atol: 1e-6,
    });
    expect(at("silu")).toBeAllclose([-0.2384058, -0.2689414, -0.1887703, 0, 0.3112297, 0.7310586, 1.7615942], {
      atol: 1e-6,
    });
    expect(at("quick_gelu")).toBeAllclose([-0.0643414, -0.1542042, -0.1496116, 0, 0.3503884, 0.8457958, 1.9356586], {
      atol: 1e-6,
    });
    expect(at("squared_relu")).toBeAllclose([0, 0, 0, 0, 0.25, 1, 4]);
    const clamped = gatedActivationOp(
      {
        u: tensor([
          [1, 9, -1],
          [2, -8, 0.5],
        ]),
      },
      { activations: ["clamped_silu", "clamped_linear"] },
    ).y;
    expect(clamped).toBeAllclose([2.5373873, -41.9997188, -0.2313064], { rtol: 1e-6 });
  });
});

const valueIn = (dtype: DType, x: number): number => valuesOf(tensor([x], { dtype })).values[0]!;

/** The slopes far below 0 and far above. */
const FAR: Record<string, readonly [low: number, high: number]> = {
  gelu: [0, 1],
  silu: [0, 1],
  quick_gelu: [0, 1],
  relu: [0, 1],
  linear: [1, 1],
  sigmoid: [0, 0],
  clamped_silu: [0, 0],
  clamped_linear: [0, 0],
};

onEachDevice(() => {
  describe.each(FLOATS)("far out, %s", (dtype) => {
    const far = dtype === "float16" ? [1e3, 6e4, Infinity] : [1e3, 1e5, 1e20, 3e38, Infinity];
    const xs = [...far.map((x) => -x), ...far];

    test.each(Object.entries(FAR))("the slope of %s is a number", (name, [low, high]) => {
      const [, pull] = vjp(
        (x: Tensor) => gatedActivationOp({ u: x.reshape([1, 1, xs.length]) }, { activations: [name] }).y,
        tensor(xs, { dtype }),
      );
      const [dx] = pull(full([1, xs.length], 1, { dtype })) as [Tensor];
      const expected = xs.map((x) => expect.closeTo(x < 0 ? low : high, 6));
      expect(Array.from(dx.astype("float32").dataSync())).toEqual(expected);
    });

    test("a linear gate passes the other's slope on", () => {
      const u = tensor([xs.map(() => 2), xs], { dtype }).reshape([1, 2, xs.length]);
      const [, pull] = vjp((u: Tensor) => gatedActivationOp({ u }, { activations: ["relu", "linear"] }).y, u);
      const [du] = pull(full([1, xs.length], 1, { dtype })) as [Tensor];
      expect(Array.from(du.astype("float32").dataSync())).toEqual(
        [...xs, ...xs.map(() => 2)].map((x) => valueIn(dtype, x)),
      );
    });
  });

  test("with `wide` the gradient of the pre-activation is not rounded to its dtype", () => {
    const u = normals([3, 2, 8], { dtype: "bfloat16" });
    const dy = normals([3, 8], { dtype: "bfloat16", seed: "dy" });
    const params = { activations: ["silu", "linear"] };
    const { du } = gatedActivationBackwardOp({ dy, u }, { ...params, wide: true });
    expect(du.dtype).toBe("float32");
    expectClose(du, gatedActivationBackwardOp({ dy, u: u.astype("float32") }, params).du, "activation");
  });
});
