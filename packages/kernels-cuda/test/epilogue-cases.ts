/** Two products with an activation between them on the CPU and on the GPU, for the tests of epilogues. */
import { profile } from "@te/kernels-cuda";
import { gatedActivationOp } from "@te/layers";
import { dot, jit, setDevice, type Tensor, tensor, valueAndGrad } from "@te/tensor";
import { normals } from "@te/testkit";
import { expect } from "vitest";

/** Of the largest of a result: one rounding more or less of it, and of what it is made of. */
const LIMITS: Readonly<Record<string, number>> = { float32: 2e-5, bfloat16: 2e-2, float16: 3e-3 };

interface Mlp {
  readonly dtype: "float32" | "bfloat16" | "float16";
  readonly activation: string;
  readonly biased: boolean;
  readonly width: number;
}

/** The result, or the gradients of everything. */
async function run(device: string, { dtype, activation, biased, width }: Mlp, training: boolean) {
  setDevice(device);
  const make = (shape: readonly number[], seed: string, std = 1) => normals([...shape], { dtype, seed, std } as never);
  // The gradient of relu jumps at 0, on whose sides a u may lie that is rounded once and one that is rounded twice. So
  // its u are multiples of a half that every dtype holds, and no bias leaves any at 0.
  const whole = (shape: readonly number[], seed: string, std: number, more = 0) =>
    tensor(
      [...normals([...shape], { seed, std }).dataSync()].map((value) => Math.round(Number(value)) + more),
      { shape: [...shape], dtype },
    );
  const first = activation === "relu" ? whole : make;
  const x = first([2, 16, 32], "x", 1);
  const weights = {
    w1: first([32, 1, width], "w1", activation === "relu" ? 0.7 : 0.3),
    w2: make([width, 24], "w2", 0.3),
  };
  const variables: Record<string, Tensor> = biased ? { ...weights, bias: first([1, width], "bias", 1, 0.5) } : weights;
  const forward = (v: Record<string, Tensor>): Tensor => {
    const product = dot(x, v.w1!, { lhsContract: [2], rhsContract: [0] });
    const u = biased ? product.add(v.bias!) : product;
    return dot(gatedActivationOp({ u }, { activations: [activation] }).y, v.w2!, {
      lhsContract: [2],
      rhsContract: [0],
    });
  };
  const target = make([2, 16, 24], "target");
  const lossOf = (v: Record<string, Tensor>) => forward(v).mul(target).astype("float32").sum();
  const step = jit(
    (v: Record<string, Tensor>) =>
      (training ? valueAndGrad(lossOf)(v)[1] : { y: forward(v) }) as Record<string, Tensor>,
  );
  const results: Record<string, number[]> = {};
  const kernels = await profile(async () => {
    for (const [name, of] of Object.entries(step(variables)))
      results[name] = [...((await (of as Tensor).astype("float32").data()) as Float32Array)];
  });
  return { results, ops: kernels.map(({ op }) => op) };
}

/** Expects the results of the CPU on the GPU, and returns the ops that ran there. */
export async function expectSame(of: Mlp, training: boolean): Promise<readonly string[]> {
  const expected = await run("cpu", of, training);
  const actual = await run("cuda", of, training);
  expect(Object.keys(actual.results)).toEqual(Object.keys(expected.results));
  for (const [name, values] of Object.entries(expected.results)) {
    const most = Math.max(...values.map(Math.abs));
    expect(most).toBeGreaterThan(0);
    const apart = Math.max(...values.map((value, i) => Math.abs(value - actual.results[name]![i]!)));
    expect(apart / most, name).toBeLessThan(LIMITS[of.dtype]!);
  }
  return actual.ops;
}
