/** Which kernels run where a fused path is claimed: right results say nothing about the way they were computed. */
import { fp8Autocast } from "@te/fp8";
import { cpuInfo, profile } from "@te/kernels-cpu";
import { LayerNorm, LayerNormDenseGeneral, LayerNormMLP, type Variables } from "@te/layers";
import { adamw } from "@te/optim";
import {
  crossEntropy,
  currentBackend,
  grad,
  jit,
  logsumexp,
  random,
  setDevice,
  softmax,
  type Tensor,
} from "@te/tensor";
import { normals } from "@te/testkit";
import { DotProductAttention, rope } from "@te/transformer";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

type Counts = Record<string, number>;

/** The kernels of one call of the compiled function, and how many times each ran. */
async function kernelsOf(f: (...args: any[]) => unknown, ...args: unknown[]): Promise<Counts> {
  const compiled = jit(f as never) as (...args: unknown[]) => unknown;
  compiled(...args);
  const counts: Counts = {};
  const timings = await profile(() => {
    compiled(...args);
  });
  for (const { op } of timings) counts[op] = (counts[op] ?? 0) + 1;
  return counts;
}

describe.skipIf(!cpuInfo().available)("kernels that run", () => {
  let before: string;
  beforeAll(() => {
    before = currentBackend().name;
    setDevice("cpu");
  });
  afterAll(() => setDevice(before));

  const x = normals([32, 48]);
  const q = normals([2, 16, 2, 8]);
  const labels = random.randint(random.key(1), [32], 0, 48);

  test.each<[string, Counts, (...args: any[]) => unknown, Tensor[]]>([
    ["a chain of elementwise ops", { elementwise: 1 }, (a, b) => a.mul(2).add(1).exp().sub(b).tanh(), [x, x]],
    ["softmax", { softmax: 1 }, (a) => softmax(a), [x]],
    ["logsumexp", { logsumexp: 1 }, (a) => logsumexp(a), [x]],
    ["crossEntropy", { cross_entropy: 1 }, (a, b) => crossEntropy(a, b), [x, labels]],
    ["rope", { rope: 1 }, (a) => rope(a), [q]],
    ["a product", { dot: 1 }, (a, b) => a.matmul(b), [x, normals([48, 8])]],
  ])("%s: one kernel", async (_, wanted, f, args) => {
    expect(await kernelsOf(f, ...args)).toEqual(wanted);
  });

  test.each(["layernorm", "rmsnorm"] as const)("%s: one kernel", async (layernormType) => {
    const module = new LayerNorm({ layernormType });
    const variables = module.init(random.key(0), x);
    const apply = (v: Variables, x: Tensor) => module.apply(v, x);
    expect(await kernelsOf(apply, variables, x)).toEqual({
      [layernormType === "layernorm" ? "layer_norm" : "rms_norm"]: 1,
    });
  });

  test("attention: one kernel forward, one backward, no scores in memory", async () => {
    const module = new DotProductAttention({ headDim: 8, numAttentionHeads: 2, attnMaskType: "causal" });
    const apply = (q: Tensor) => module.apply({}, q, q, q);
    expect(await kernelsOf(apply, q)).toEqual({ attention: 1 });
    const counts = await kernelsOf(
      grad((q: Tensor) => apply(q).sum()),
      q,
    );
    expect(counts).toMatchObject({ attention: 1, attention_backward: 1 });
    for (const op of ["dot", "softmax", "softmax_backward"]) expect(counts).not.toHaveProperty(op);
  });

  describe("FP8", () => {
    const count = async (module: LayerNormMLP | LayerNormDenseGeneral): Promise<Counts> => {
      const variables = fp8Autocast({ enabled: true }, () => module.init(random.key(0), x));
      const apply = (v: Variables, x: Tensor) =>
        fp8Autocast({ enabled: true }, () => (module.apply(v, x) as unknown as Tensor[])[0]!);
      return kernelsOf(apply, variables, x);
    };

    test("LayerNormMLP: norm and activation quantize their results themselves", async () => {
      const counts = await count(new LayerNormMLP({ intermediateDim: 64, activations: ["gelu", "linear"] }));
      expect(counts).toMatchObject({ layer_norm_quantize: 1, gated_activation_quantize: 1, scaled_dot: 2 });
      for (const op of ["layer_norm", "gated_activation", "dot"]) expect(counts).not.toHaveProperty(op);
    });

    test.each(["layernorm", "rmsnorm"] as const)("LayerNormDenseGeneral, %s: the norm quantizes", async (type) => {
      const counts = await count(new LayerNormDenseGeneral({ features: 64, layernormType: type }));
      expect(counts).toMatchObject({ [type === "layernorm" ? "layer_norm_quantize" : "rms_norm_quantize"]: 1 });
      expect(counts).toMatchObject({ quantize: 1, scaled_dot: 1 }); // the kernel's
      for (const op of ["layer_norm", "rms_norm", "dot"]) expect(counts).not.toHaveProperty(op);
    });
  });

  test("AdamW: one kernel per parameter", async () => {
    const { init, update } = adamw({ learningRate: 1e-3 });
    const params = { a: x, b: q };
    const counts = await kernelsOf((g, s, p) => update(g, s, p), params, init(params), params);
    expect(counts.adamw_update).toBe(2);
  });
});
