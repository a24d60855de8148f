/** Where the logits of a row lie does not matter: the weights sum to 1 in both passes, also far down or up in float32. */
import "@te/kernels-cpu";
import { type DType, full, jit, random, type Tensor, tensor, vjp } from "@te/tensor";
import { findBitDifference, normals, onEachDevice, toTensor } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { attentionOp } from "../src/ops/attention.js";
import type { AttentionOperands, AttentionParams } from "../src/ops/attention-problem.js";

const [BATCH, HEADS, DEPTH] = [1, 4, 4];
const DTYPES = ["float32", "bfloat16", "float16"] as const;
/** Differences of logits are exact this far down, but not a log-sum-exp. */
const DOWN = -(2 ** 22);

interface Form {
  readonly queries?: number;
  readonly keys?: number;
  readonly groups?: number;
  readonly operands?: Partial<AttentionOperands<Tensor>>;
  readonly params?: Partial<AttentionParams>;
}

const ids = (n: number): Tensor => {
  const row = Array.from({ length: n }, (_, i) => 1 + Math.floor((3 * i) / n));
  return tensor([row], { dtype: "int32" });
};
const mask = toTensor({
  shape: [BATCH, 1, 1, 19],
  dtype: "bool",
  data: Uint8Array.from({ length: BATCH * 19 }, (_, i) => Number(i % 3 === 1)),
});

const FORMS: Record<string, Form> = {
  plain: {},
  "grouped heads": { groups: 2 },
  "one group": { groups: 1 },
  causal: { params: { causal: true } },
  "a window": { params: { windowLeft: 3, windowRight: 1 } },
  "a mask": { operands: { mask } },
  segments: { operands: { segmentsQ: ids(19), segmentsKv: ids(19) } },
  "several blocks and chunks": { queries: 70, keys: 300 },
  "few queries, many keys": { queries: 1, keys: 2300 },
  dropout: { operands: { key: random.key(3) }, params: { dropout: 0.3 } },
  "a learnable sink": { params: { softmaxType: "learnable" } },
};

/** Small whole numbers: logits are exact. */
const whole = (shape: readonly number[], seed: string, dtype: DType): Tensor =>
  normals(shape, { seed }).round().astype(dtype);

/** out and the gradients of q, k, v, the bias and the sink, with all logits moved. */
function run(
  { queries = 19, keys = 19, groups = HEADS, operands, params }: Form,
  dtype: DType,
  moved: number,
): Tensor[] {
  const learnable = params?.softmaxType === "learnable";
  const inputs = [
    whole([BATCH, queries, HEADS, DEPTH], "q", dtype),
    whole([BATCH, keys, groups, DEPTH], "k", dtype),
    normals([BATCH, keys, groups, DEPTH], { seed: "v", dtype }),
    whole([1, HEADS, queries, keys], "bias", "float32").add(moved),
    ...(learnable ? [tensor([0, 1, -1, 2]).add(moved)] : []),
  ];
  const dout = normals([BATCH, queries, HEADS, DEPTH], { seed: "dout", dtype });
  const f = (q: Tensor, k: Tensor, v: Tensor, bias: Tensor, sink?: Tensor): Tensor =>
    attentionOp({ q, k, v, bias, sink, ...operands }, { scale: 1, biasType: "post_scale", ...params }).out;
  return jit((dout: Tensor, ...inputs: Tensor[]): Tensor[] => {
    const [out, pull] = vjp(f as (...args: Tensor[]) => Tensor, ...inputs);
    return [out, ...pull(dout)] as Tensor[];
  })(dout, ...inputs);
}

onEachDevice(() => {
  describe.each(Object.entries(FORMS))("%s", (_, form) => {
    test.each(DTYPES)("%s: moving every logit changes no bit", (dtype) => {
      const at0 = run(form, dtype, 0);
      run(form, dtype, DOWN).forEach((t, i) => expect(findBitDifference(t, at0[i]!), `${i}`).toBeUndefined());
    });
  });

  const KEYS = 7;
  const values = (dtype: DType): Tensor =>
    tensor(Array.from({ length: KEYS }, (_, j) => j))
      .reshape([1, KEYS, 1, 1])
      .astype(dtype);
  const uniform = (dtype: DType, biases: Tensor, params: Partial<AttentionParams> = {}): Tensor[] => {
    const q = full([1, 1, 1, 1], 0.5, { dtype });
    const k = normals([1, KEYS, 1, 1], { dtype });
    const f = (v: Tensor, bias: Tensor): Tensor =>
      attentionOp({ q, k, v, bias: bias.reshape([1, 1, 1, KEYS]) }, { biasType: "post_scale", ...params }).out;
    const [out, pull] = vjp(f, values(dtype), biases);
    return [out, ...(pull(full([1, 1, 1, 1], 1, { dtype })) as Tensor[])].map((t) => t.astype("float32"));
  };

  test.each(DTYPES)("%s: a row that a finite bias lowers beyond its logits' digits is uniform attention", (dtype) => {
    for (const down of [-1e10, -1e30, -3.4028234663852886e38]) {
      const [out, dv, dbias] = uniform(dtype, full([KEYS], down)).map((t) => Array.from(t.dataSync()));
      const digits = dtype === "bfloat16" ? 2 : 3;
      expect(out, `${down}`).toEqual([expect.closeTo(3, 6)]);
      expect(dv).toEqual(Array(KEYS).fill(expect.closeTo(1 / KEYS, digits)));
      expect(dbias).toEqual(Array.from({ length: KEYS }, (_, j) => expect.closeTo((j - 3) / KEYS, digits)));
    }
  });

  test("beside a sink such a row has no weight left, and no gradient", () => {
    for (const t of uniform("float32", full([KEYS], -1e9), { softmaxType: "off_by_one" }))
      expect(new Set(Array.from(t.dataSync(), Math.abs))).toEqual(new Set([0]));
  });

  test("logits of 384 have weights without error", () => {
    const [out, dv] = uniform("float32", full([KEYS], 384), { scale: 0 }).map((t) => Array.from(t.dataSync()));
    expect(out).toEqual([expect.closeTo(3, 6)]);
    expect(dv).toEqual(Array(KEYS).fill(Math.fround(1 / KEYS)));
  });

  test("a row of -inf sees nothing", () => {
    const some = tensor([0, 0, -Infinity, 0, -Infinity, -Infinity, -Infinity]);
    const [out, dv, dbias] = uniform("float32", some, { scale: 0 }).map((t) => Array.from(t.dataSync()));
    const third = expect.closeTo(1 / 3, 6);
    expect(out).toEqual([expect.closeTo(4 / 3, 6)]);
    expect(dv).toEqual([third, third, 0, third, 0, 0, 0]);
    expect(dbias!.slice(4)).toEqual([0, 0, 0]);
    for (const t of uniform("float32", full([KEYS], -Infinity)))
      expect(new Set(Array.from(t.dataSync(), Math.abs))).toEqual(new Set([0]));
  });

  test("the statistics are the largest logit and the sum relative to it; they merge, and their log-sum-exp has a gradient", () => {
    const [q, k, v] = ["q", "k", "v"].map((seed) => normals([1, 5, 2, 4], { seed })) as [Tensor, Tensor, Tensor];
    const whole = attentionOp({ q, k, v });
    const parts = [
      [0, 2],
      [2, 5],
    ].map(([from, to]) => attentionOp({ q, k: k.at(":", [from!, to!]), v: v.at(":", [from!, to!]) }));
    const [a, b] = parts as [typeof whole, typeof whole];
    const max = a.max.maximum(b.max);
    const [fa, fb] = [a, b].map((t) => t.sum.mul(t.max.sub(max).exp())) as [Tensor, Tensor];
    const sum = fa.add(fb);
    const ofRows = (t: Tensor): Tensor => t.div(sum).transpose([0, 2, 1]).expandDims(-1);
    const out = a.out.mul(ofRows(fa)).add(b.out.mul(ofRows(fb)));
    expect(findBitDifference(max, whole.max)).toBeUndefined();
    expect(sum).toBeAllclose(whole.sum, { rtol: 1e-6, atol: 0 });
    expect(out).toBeAllclose(whole.out, { rtol: 1e-5, atol: 1e-6 });

    const lse = (q: Tensor, k: Tensor): Tensor => {
      const { max, sum } = attentionOp({ q, k, v });
      return max.add(sum.log()).sin().sum();
    };
    const composed = (q: Tensor, k: Tensor): Tensor =>
      q
        .transpose([0, 2, 1, 3])
        .matmul(k.transpose([0, 2, 3, 1]))
        .exp()
        .sum(-1)
        .log()
        .sin()
        .sum();
    const [, pull] = vjp(lse, q, k);
    const [, pullComposed] = vjp(composed, q, k);
    const wanted = pullComposed(tensor(1)) as Tensor[];
    (pull(tensor(1)) as Tensor[]).forEach((t, i) => expect(t).toBeAllclose(wanted[i]!, { rtol: 1e-4, atol: 1e-5 }));
    expect(() => vjp((q: Tensor) => attentionOp({ q, k, v }).max.sum(), q)[1](tensor(1))).toThrow(
      /max alone has no derivative/,
    );
  });
});
