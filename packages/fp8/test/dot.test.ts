/** Products in FP8: each operand is rounded once, gradients too, and new state comes out as a gradient. */
import { customVjp, jit, makeProgram, type Tensor, tensor, valueAndGrad, vjp } from "@te/tensor";
import { expectClose, expectError, expectGradients, findBitDifference, normals } from "@te/testkit";
import { describe, expect, it } from "vitest";
import {
  autocast,
  backwardDot,
  biasGradient,
  DelayedScaling,
  dequantize,
  type Float8,
  Format,
  type FormatSpec,
  forwardDot,
  fp8DotGeneral,
  nextMetas,
  type ProductMetas,
  productMetas,
  quantizedBy,
  quantizeOp,
  quantizeWith,
  type ScaleState,
  updateCollections,
} from "../src/index.js";
import { product } from "./product.js";

const E4M3: Float8 = "float8_e4m3fn";
const E5M2: Float8 = "float8_e5m2";
const AXES = { lhsContract: [1], rhsContract: [0] };

const freshMetas = (recipe: DelayedScaling): ProductMetas<ScaleState> => productMetas(recipe, (_, init) => init());
const flat = (metas: ProductMetas<ScaleState>): Record<string, Tensor> =>
  Object.fromEntries(
    Object.entries(metas).flatMap(([role, s]) => [
      [`${role}.scale`, s.scale],
      [`${role}.history`, s.amaxHistory],
    ]),
  );

function expectSameBits(actual: Record<string, Tensor>, expected: Record<string, Tensor>): void {
  expect(Object.keys(actual).sort()).toEqual(Object.keys(expected).sort());
  for (const name of Object.keys(expected))
    expect(findBitDifference(actual[name]!, expected[name]!), name).toBeUndefined();
}

describe("fp8DotGeneral", () => {
  const recipe = new DelayedScaling({ amaxHistoryLen: 4 });
  const x = normals([32, 48], { seed: 5, dtype: "bfloat16" });
  const kernel = normals([48, 16], { seed: 6, std: 0.2 });
  const bias = normals([16], { seed: 7 });

  it("takes a kernel that is kept in FP8 with the scale of its state", () => {
    const metas = freshMetas(recipe);
    const scaled = { ...metas, kernel: { ...metas.kernel, scale: tensor([64]) } };
    const { q } = quantizeWith(scaled.kernel, kernel, E4M3);
    const of = (k: Tensor): Tensor => fp8DotGeneral(x, k, scaled, AXES, { recipe, bias });
    expectSameBits({ y: of(q) }, { y: of(kernel) });
    expectError("dtype", /^fp8DotGeneral: kernel must be float32, bfloat16 or float16/, () => of(kernel.astype(E5M2)));
    const sum = (x: Tensor): Tensor => fp8DotGeneral(x, q, scaled, AXES, { recipe }).astype("float32").sum();
    expectError("dtype", /^fp8DotGeneral: a kernel that is kept in FP8 has no gradient/, () => valueAndGrad(sum)(x));
  });
  const dy = normals([32, 16], { seed: 8, dtype: "bfloat16" });
  const f =
    (metas: ProductMetas<ScaleState>, r = recipe) =>
    (x: Tensor, kernel: Tensor, bias: Tensor, m: ProductMetas<ScaleState> = metas) =>
      fp8DotGeneral(x, kernel, m, AXES, { recipe: r, bias });

  /** Metas after warm-up, so that scales differ from 1. */
  const warm = (r: DelayedScaling): ProductMetas<ScaleState> => {
    let metas = freshMetas(r);
    for (let i = 0; i < 2; i++) metas = vjp(f(metas, r), x, kernel, bias, metas)[1](dy)[3]!;
    return metas;
  };

  it.each([Format.HYBRID, Format.E4M3] as FormatSpec[])(
    "gives product and gradients of the rounded operands: $name",
    async (fp8Format) => {
      const r = new DelayedScaling({ amaxHistoryLen: 4, fp8Format });
      const metas = warm(r);
      const [xq, kq] = [quantizeWith(metas.x, x, E4M3), quantizeWith(metas.kernel, kernel, E4M3)];
      const gq = quantizeWith(metas.grad, dy, fp8Format.backward);
      const [xv, kv, gv] = await Promise.all([xq, kq, gq].map((t) => dequantize(t).values()));
      const [y, pull] = vjp(f(metas, r), x, kernel, bias, metas);
      const [dx, dkernel, dbias, next] = pull(dy) as [Tensor, Tensor, Tensor, ProductMetas<ScaleState>];
      const biasValues = await bias.values();

      const values = product(xv!, kv!, [32, 48, 16]).map((v, i) => v + biasValues[i % 16]!);
      expectClose(y, { shape: [32, 16], dtype: "bfloat16", values }, "fp8Gemm");
      const dbiasValues = new Float64Array(16);
      (await dy.values()).forEach((v, i) => {
        dbiasValues[i % 16]! += v;
      });
      const reference = {
        dx: { shape: [32, 48], dtype: "bfloat16" as const, values: product(gv!, kv!, [32, 16, 48], false, true) },
        dkernel: { shape: [48, 16], dtype: "float32" as const, values: product(xv!, gv!, [48, 32, 16], true, false) },
      };
      expectGradients({ dx }, { dx: reference.dx }, "fp8Gemm");
      // The kernel's gradient went through the dtype of x.
      expectGradients({ dkernel: dkernel.astype("bfloat16") }, { dkernel: reference.dkernel }, "fp8Gemm");
      expect(findBitDifference(dkernel.astype("bfloat16").astype("float32"), dkernel)).toBeUndefined();
      expectGradients({ dbias }, { dbias: { shape: [16], dtype: "float32", values: dbiasValues } }, "gemm");
      expectSameBits(flat(next), flat(nextMetas(metas, { x: xq, kernel: kq, grad: gq }, r)));
      expect(await next.x.scale.item()).not.toBe(1);
    },
  );

  it("rounds each operand once", () => {
    const program = makeProgram(
      (metas: ProductMetas<ScaleState>, x: Tensor, kernel: Tensor, bias: Tensor, dy: Tensor) =>
        vjp(f(metas), x, kernel, bias, metas)[1](dy),
    );
    const names = program(freshMetas(recipe), x, kernel, bias, dy).nodes.map(({ op }) =>
      typeof op === "string" ? op : (op as { name: string }).name,
    );
    expect(names.filter((name) => name === "quantize")).toHaveLength(3);
    // The forward product is not needed for gradients alone.
    expect(names.filter((name) => name === "scaled_dot")).toHaveLength(2);
    expect(names.filter((name) => name === "delayed_scaling_update")).toHaveLength(3);
  });

  it("multiplies over any axes, like the plain layout after transposing", async () => {
    const metas = warm(recipe);
    const a = normals([4, 6, 5, 8], { seed: 9 });
    const b = normals([7, 8, 3, 6], { seed: 10 });
    const axes = { lhsContract: [3, 1], rhsContract: [1, 3] };
    const g = normals([4, 5, 7, 3], { seed: 11 });
    const [y, pull] = vjp((a: Tensor, b: Tensor) => fp8DotGeneral(a, b, metas, axes, { recipe }), a, b);
    const [da, db] = pull(g) as [Tensor, Tensor];

    const plain = (a: Tensor, b: Tensor) => {
      const left = a.transpose([0, 2, 3, 1]).reshape([20, 48]);
      const right = b.transpose([1, 3, 0, 2]).reshape([48, 21]);
      return fp8DotGeneral(left, right, metas, AXES, { recipe }).reshape([4, 5, 7, 3]);
    };
    const [y2, pull2] = vjp(plain, a, b);
    const [da2, db2] = pull2(g) as [Tensor, Tensor];
    expectClose(y, y2, "fp8Gemm");
    expectGradients({ da, db }, { da: da2, db: db2 }, "fp8Gemm");
  });

  const loss = (
    variables: { params: Record<string, Tensor>; fp8_metas: ProductMetas<ScaleState> },
    x: Tensor,
    target: Tensor,
  ) => {
    const y = fp8DotGeneral(x, variables.params.kernel!, variables.fp8_metas, AXES, { bias: variables.params.bias! });
    const error = y.sub(target).astype("float32");
    return error.mul(error).sum();
  };

  it("returns new metas as their gradient, the same compiled as not", () => {
    const step = valueAndGrad(loss);
    const compiled = jit(step);
    autocast({ enabled: true, recipe }, () => {
      let variables = { params: { kernel, bias }, fp8_metas: freshMetas(recipe) };
      let other = variables;
      for (let i = 0; i < 3; i++) {
        const [value, grads] = step(variables, x, dy) as [Tensor, typeof variables];
        const [value2, grads2] = compiled(other, x, dy) as [Tensor, typeof variables];
        expectSameBits(
          { value, ...grads.params, ...flat(grads.fp8_metas) },
          { value: value2, ...grads2.params, ...flat(grads2.fp8_metas) },
        );
        const { grad } = grads.fp8_metas;
        expect(findBitDifference(grad.amaxHistory, variables.fp8_metas.grad.amaxHistory)).toBeDefined();
        variables = updateCollections({ fp8_metas: grads.fp8_metas }, variables);
        other = updateCollections({ fp8_metas: grads2.fp8_metas }, other);
      }
    });
  });

  it("does not depend on the scale of the loss for its metas", () => {
    const metas = warm(recipe);
    const gradients = (factor: number) =>
      valueAndGrad((m: ProductMetas<ScaleState>) => f(m)(x, kernel, bias).astype("float32").mul(factor).sum())(
        metas,
      )[1] as ProductMetas<ScaleState>;
    const [one, eight] = [gradients(1), gradients(8)];
    expectSameBits(flat({ ...one, grad: metas.grad }), flat({ ...eight, grad: metas.grad }));
    // Only the gradient's own amax knows about it.
    expect(findBitDifference(one.grad.amaxHistory.mul(8), eight.grad.amaxHistory.mul(1))).toBeDefined();
  });

  it("leaves metas alone in evaluation", async () => {
    const metas = warm(recipe);
    const before = await Promise.all(Object.values(flat(metas)).map(async (t) => Array.from(await t.data())));
    const [eager, compiled] = [f(metas)(x, kernel, bias), jit(f(metas))(x, kernel, bias, metas)];
    expect(findBitDifference(eager, compiled)).toBeUndefined();
    expect(await Promise.all(Object.values(flat(metas)).map(async (t) => Array.from(await t.data())))).toEqual(before);
  });

  it("takes an input that another op has rounded already", () => {
    const metas = warm(recipe);
    const { dtype } = x;
    // What a layer with a fused front does: here the front is a plain product with 2.
    const fused = customVjp(
      (x: Tensor, kernel: Tensor, bias: Tensor, metas: ProductMetas<ScaleState>) => forward(x, kernel, bias, metas)[0],
      (x: Tensor, kernel: Tensor, bias: Tensor, metas: ProductMetas<ScaleState>) => [
        ...forward(x, kernel, bias, metas),
      ],
      ({ xq, kq, bias, metas }, g: Tensor) => {
        const gq = quantizeWith(metas.grad, g, E5M2);
        const { dx, dkernel } = backwardDot(xq, kq, gq, AXES, { dtype });
        return [dx.mul(2), dkernel, biasGradient(g, bias), nextMetas(metas, { x: xq, kernel: kq, grad: gq }, recipe)];
      },
    );
    const forward = (x: Tensor, kernel: Tensor, bias: Tensor, metas: ProductMetas<ScaleState>) => {
      const xq = quantizedBy(metas.x, quantizeOp({ x: x.mul(2), scale: metas.x.scale }, { dtype: E4M3 }));
      const kq = quantizeWith(metas.kernel, kernel, E4M3);
      return [forwardDot(xq, kq, AXES, { dtype, bias: bias.astype(dtype) }), { xq, kq, bias, metas }] as const;
    };
    const composed = (x: Tensor, kernel: Tensor, bias: Tensor, metas: ProductMetas<ScaleState>) =>
      f(metas)(x.mul(2), kernel, bias, metas);
    const run = (g: typeof composed) => {
      const [y, pull] = vjp(g, x, kernel, bias, metas);
      const [dx, dkernel, dbias, next] = pull(dy) as [Tensor, Tensor, Tensor, ProductMetas<ScaleState>];
      return { y, dx, dkernel, dbias, ...flat(next) };
    };
    expectSameBits(run(fused), run(composed));
  });

  it("L02: three steps, then a jump that saturates once", async () => {
    let metas = freshMetas(recipe);
    const history: Record<string, number[]> = { x: [], kernel: [], grad: [] };
    const scales: number[] = [];
    const largest = async (t: Tensor) => Math.max(...(await t.values()).map(Math.abs));
    const saturated: number[] = [];
    for (const [step, size] of [1, 1.3, 0.8, 10, 10, 10].entries()) {
      const input = normals([32, 48], { seed: 20 + step, std: size });
      const upstream = normals([32, 16], { seed: 40 + step, std: size });
      const operands = { x: input, kernel, grad: upstream };
      const formats = { x: E4M3, kernel: E4M3, grad: E5M2 };
      const decoded: Record<string, Float64Array> = {};
      for (const role of ["x", "kernel", "grad"] as const) {
        const seen = history[role]!.slice(-4).filter((amax) => amax > 0);
        const limit = formats[role] === E4M3 ? 448 : 57344;
        const scale = seen.length ? Math.fround(limit / Math.max(...seen)) : 1;
        expect(await metas[role].scale.item(), `${role} in step ${step}`).toBe(scale);
        decoded[role] = await dequantize(quantizeWith(metas[role], operands[role], formats[role])).values();
        if (role === "x") scales.push(scale);
        history[role]!.push(await largest(operands[role]));
      }
      const [y, pull] = vjp(
        (x: Tensor, kernel: Tensor, m: ProductMetas<ScaleState>) => fp8DotGeneral(x, kernel, m, AXES, { recipe }),
        input,
        kernel,
        metas,
      );
      const [dx, dkernel, next] = pull(upstream) as [Tensor, Tensor, ProductMetas<ScaleState>];
      expectClose(
        y,
        { shape: [32, 16], dtype: "float32", values: product(decoded.x!, decoded.kernel!, [32, 48, 16]) },
        "fp8Gemm",
      );
      expectGradients(
        { dx, dkernel },
        {
          dx: {
            shape: [32, 48],
            dtype: "float32",
            values: product(decoded.grad!, decoded.kernel!, [32, 16, 48], false, true),
          },
          dkernel: {
            shape: [48, 16],
            dtype: "float32",
            values: product(decoded.x!, decoded.grad!, [48, 32, 16], true, false),
          },
        },
        "fp8Gemm",
      );
      const peak = Math.fround((await largest(input)) * scales[step]!);
      saturated.push(peak > 448 * 1.5 ? 1 : 0);
      metas = next;
    }
    expect(saturated).toEqual([0, 0, 0, 1, 0, 0]);
  });

  it("rejects wrong use", () => {
    const metas = freshMetas(recipe);
    expectError("state", /no recipe is in force.*autocast/, () => fp8DotGeneral(x, kernel, metas, AXES));
    expectError("dtype", /x must be float32, bfloat16 or float16, got int32/, () =>
      fp8DotGeneral(tensor([[1]], { dtype: "int32" }), kernel, metas, AXES, { recipe }),
    );
    expectError("shape", /contract axes must have equal lengths/, () =>
      fp8DotGeneral(x, kernel.T, metas, AXES, { recipe }),
    );
    expectError("shape", /bias must have shape \[16\]/, () => f(metas)(x, kernel, tensor([1])));
  });
});
