/** L02: three FP8 steps and a jump, against delayed scaling and products worked out in float64. */
import { DelayedScaling, fp8Autocast } from "@te/fp8";
import { random, type Tensor, valueAndGrad } from "@te/tensor";
import { decodeTable, encodeFloat, type NarrowFloat, toFloat64 } from "@te/tensor/op";
import { errorN, expectClose, normals, onEachDevice, valuesOf } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { DenseGeneral } from "../src/index.js";

const recipe = new DelayedScaling({ amaxHistoryLen: 4 });
const f = Math.fround;

/** Delayed scaling of one tensor, by hand: the amax of step t counts from step t + 1 on, for four steps. */
class Scaled {
  scale = 1;
  amaxes: number[] = [];
  saturated = 0;

  constructor(
    private readonly dtype: NarrowFloat,
    private readonly largest: number,
  ) {}

  /** The values as FP8 holds them, decoded. */
  round(values: ArrayLike<number>): Float64Array {
    const table = decodeTable(this.dtype);
    const rounded = Float64Array.from(
      values,
      (v) => table[encodeFloat(this.dtype, f(f(v) * this.scale), true)]! / this.scale,
    );
    const amax = Array.from(values).reduce((a, v) => Math.max(a, Math.abs(v)), 0);
    this.saturated = amax * this.scale > this.largest ? 1 : 0;
    this.amaxes = [...this.amaxes, amax].slice(-4);
    this.scale = f(this.largest / Math.max(...this.amaxes));
    return rounded;
  }

  /** The history as the variables have it: a place for the next amax, then the last three, oldest first. */
  get history(): number[] {
    const last = this.amaxes.slice(-3);
    return [0, ...Array(3 - last.length).fill(0), ...last];
  }
}

/** a [m, k] · b [k, n], both row-major. */
function multiply(a: ArrayLike<number>, b: ArrayLike<number>, m: number, k: number, n: number): Float64Array {
  const y = new Float64Array(m * n);
  for (let i = 0; i < m; i++)
    for (let p = 0; p < k; p++) for (let j = 0; j < n; j++) y[i * n + j]! += a[i * k + p]! * b[p * n + j]!;
  return y;
}

const transpose = (a: Float64Array, m: number, n: number): Float64Array =>
  a.map((_, at) => a[(at % m) * n + Math.floor(at / m)]!);

onEachDevice(() => {
  describe.each(["float32", "bfloat16"] as const)("L02 %s", (dtype) => {
    test("each step is the product of what delayed scaling makes of the operands; a jump saturates once", () => {
      const [m, k, n] = [48, 64, 32];
      const module = new DenseGeneral({ features: n, useBias: true, dtype });
      const states = {
        x: new Scaled("float8_e4m3fn", 448),
        kernel: new Scaled("float8_e4m3fn", 448),
        grad: new Scaled("float8_e5m2", 57344),
      };
      const saturations: number[] = [];
      fp8Autocast({ enabled: true, fp8Recipe: recipe }, () => {
        const { params, fp8_metas } = module.init(random.key(0), normals([m, k], { dtype }));
        let metas: any = fp8_metas;
        for (let t = 0; t < 6; t++) {
          const size = t === 3 ? 10 : 1;
          const x = normals([m, k], { dtype, seed: `x${t}`, std: size });
          const dy = normals([m, n], { dtype, seed: `dy${t}`, std: 1e-3 * size });
          const loss = (variables: any, x: Tensor) => {
            const y = module.apply(variables, x);
            return [y.astype("float32").mul(dy.astype("float32")).sum(), y] as const;
          };
          const [[, y], [grads, dx]] = valueAndGrad(loss, { argnums: [0, 1], hasAux: true })(
            { params, fp8_metas: metas },
            x,
          );
          const [xq, wq, gq] = [
            states.x.round(values(x)),
            states.kernel.round(values(params.kernel as Tensor)),
            states.grad.round(values(dy)),
          ];
          const like = (t: Tensor, exact: Float64Array) => ({ shape: t.shape, dtype: t.dtype, values: exact });
          expectClose(y, like(y, multiply(xq, wq, m, k, n)), "fp8Gemm", `y of step ${t}`);
          expectClose(dx, like(dx, multiply(gq, transpose(wq, k, n), m, n, k)), "fp8Gemm", `dx of step ${t}`);
          const dw = grads.params.kernel;
          expectClose(dw, like(dw, multiply(transpose(xq, m, k), gq, k, m, n)), "fp8Gemm", `dw of step ${t}`);
          metas = grads.fp8_metas;
          expect(Object.keys(metas).length).toBe(6);
          for (const [role, state] of Object.entries(states)) {
            expect([...metas[`${role}_scale`].dataSync()], `${role} scale of step ${t}`).toEqual([state.scale]);
            expect([...metas[`${role}_amax_history`].dataSync()], `${role} history of step ${t}`).toEqual(
              state.history,
            );
          }
          saturations.push(states.x.saturated);
          if (t === 3) {
            const exact = multiply(values(x), values(params.kernel as Tensor), m, k, n);
            expect(errorN(values(y), exact), "clipping shows").toBeGreaterThan(0.3);
          }
        }
      });
      // Step 0 has scale 1, where nothing is near 448.
      expect(saturations).toEqual([0, 0, 0, 1, 0, 0]);
    });
  });

  test("the bias is added in high precision, and its gradient is a sum of the gradient before rounding", () => {
    const module = new DenseGeneral({ features: 8, useBias: true });
    const [x, dy] = [normals([16, 32]), normals([16, 8], { seed: "dy" })];
    fp8Autocast({ enabled: true, fp8Recipe: recipe }, () => {
      const variables: any = module.init(random.key(0), x);
      const bias = normals([8], { seed: "bias" });
      const loss = (params: any) =>
        module
          .apply({ ...variables, params }, x)
          .mul(dy)
          .sum();
      const [, grads] = valueAndGrad(loss)({ ...variables.params, bias });
      expectClose(grads.bias, dy.sum(0), "gemm", "gradient of the bias");
      const difference = module
        .apply({ ...variables, params: { ...variables.params, bias } }, x)
        .sub(module.apply(variables, x));
      expect(difference).toBeAllclose(valuesOf(bias.broadcastTo([16, 8])), { atol: 1e-6 });
    });
  });
});

const values = (t: Tensor): Float64Array => toFloat64(t.dtype, t.dataSync());
