/** F01, F02 through the module: masks, groups, layouts and descriptors against attention written out in float64. */
import type { Module } from "@te/layers";
import { type DType, stack, type Tensor, tensor, vjp } from "@te/tensor";
import {
  expectClose,
  findBitDifference,
  findDifference,
  limitOf,
  maskOf,
  normals,
  onEachDevice,
  valuesOf,
} from "@te/testkit";
import { describe, expect, test } from "vitest";
import { DotProductAttention, type DotProductAttentionOptions, SequenceDescriptor } from "../src/index.js";
import { attentionOracle } from "./attention-oracle.js";

const [BATCH, QUERIES, KEYS, DEPTH] = [2, 12, 16, 8];
const mask = maskOf([BATCH, QUERIES, KEYS], (b, _, j) => j >= KEYS - 3 * b - 2);
const hidden = (b: number, j: number): boolean => j >= KEYS - 3 * b - 2;

type Visible = (b: number, h: number, i: number, j: number) => boolean;
const kinds: [string, DotProductAttentionOptions, Visible][] = (
  [
    ["no_mask", () => true],
    ["causal", (_b, _h, i, j) => j <= i],
    ["padding", (b, _h, _i, j) => !hidden(b, j)],
    ["padding_causal", (b, _h, i, j) => j <= i && !hidden(b, j)],
    ["causal_bottom_right", (_b, _h, i, j) => j <= i + KEYS - QUERIES],
    ["padding_causal_bottom_right", (b, _h, i, j) => j <= i + KEYS - QUERIES && !hidden(b, j)],
  ] as [string, Visible][]
).map(([attnMaskType, visible]) => [attnMaskType, { attnMaskType } as DotProductAttentionOptions, visible]);

const operands = (heads: number, groups: number, dtype: DType) => ({
  q: normals([BATCH, QUERIES, heads, DEPTH], { seed: "q", dtype }),
  k: normals([BATCH, KEYS, groups, DEPTH], { seed: "k", dtype }),
  v: normals([BATCH, KEYS, groups, DEPTH], { seed: "v", dtype }),
  dout: normals([BATCH, QUERIES, heads, DEPTH], { seed: "dout", dtype }),
});

function check(
  options: object,
  visible: Visible,
  { heads = 4, groups = 4, dtype = "float32" as DType, scale = DEPTH ** -0.5 } = {},
): void {
  const module = new DotProductAttention({
    headDim: DEPTH,
    numAttentionHeads: heads,
    numGqaGroups: groups,
    ...options,
  });
  const { q, k, v, dout } = operands(heads, groups, dtype);
  const call = (q: Tensor, k: Tensor, v: Tensor): Tensor => module.apply({}, q, k, v, mask);
  const [out, pull] = vjp(call, q, k, v);
  const [dq, dk, dv] = pull(dout) as [Tensor, Tensor, Tensor];
  const sizes = { batch: BATCH, queries: QUERIES, keys: KEYS, heads, groups, depth: DEPTH };
  const values = (t: Tensor) => valuesOf(t).values;
  const exact = attentionOracle(sizes, {
    q: values(q),
    k: values(k),
    v: values(v),
    dout: values(dout),
    scale,
    visible,
  });
  const like = (t: Tensor, values: Float64Array) => ({ shape: t.shape, dtype: t.dtype, values });
  expectClose(out, like(out, exact.out), "attention", "out");
  expectClose(dq, like(dq, exact.dq), "attention", "dq");
  expectClose(dk, like(dk, exact.dk), "attentionKeyValue", "dk");
  expectClose(dv, like(dv, exact.dv), "attentionKeyValue", "dv");
}

onEachDevice(() => {
  describe("F01", () => {
    test.each(kinds)("%s", (_, options, visible) => check(options, visible));
    test.each(kinds)("%s in bfloat16", (_, options, visible) => check(options, visible, { dtype: "bfloat16" }));
    test("a window, with and without a mask", () => {
      check({ attnMaskType: "no_mask", windowSize: [2, 1] }, (_b, _h, i, j) => j >= i - 2 && j <= i + 1);
      check({ attnMaskType: "padding", windowSize: [3, -1] }, (b, _h, i, j) => j >= i - 3 && !hidden(b, j));
    });
    test("scaleFactor", () => check({ attnMaskType: "no_mask", scaleFactor: 0.7 }, () => true, { scale: 0.7 }));
  });

  describe("F02", () => {
    test.each([6, 3, 1])("12 heads in %i groups", (groups) =>
      check({ attnMaskType: "causal_bottom_right" }, (_b, _h, i, j) => j <= i + KEYS - QUERIES, { heads: 12, groups }),
    );
  });

  const run = (options: object, ...args: unknown[]): Tensor =>
    (
      new DotProductAttention({ headDim: DEPTH, numAttentionHeads: 4, attnMaskType: "no_mask", ...options }) as Module
    ).apply({}, ...args);
  const { q, k, v } = operands(4, 4, "float32");

  test("packed layouts hold the same operands", () => {
    const square = normals([BATCH, KEYS, 4, DEPTH], { seed: "square" });
    const separate = run({}, square, k, v);
    expect(
      findDifference(
        run({ qkvLayout: "bshd_bs2hd" }, square, stack([k, v], 2)),
        separate,
        limitOf("attention", "float32"),
      ),
    ).toBeUndefined();
    expect(
      findDifference(run({ qkvLayout: "bs3hd" }, stack([square, k, v], 2)), separate, limitOf("attention", "float32")),
    ).toBeUndefined();
  });

  test("sequence-first swaps batch and sequence of the operands, and leaves mask and bias alone", () => {
    const bias = normals([1, 4, QUERIES, KEYS], { seed: "bias" });
    const options = { attnMaskType: "padding" };
    const swapped = [q, k, v].map((t) => t.transpose([1, 0, 2, 3]));
    const y = run({ ...options, transposeBatchSequence: true }, ...swapped, mask, bias);
    expectClose(y.transpose([1, 0, 2, 3]), run(options, q, k, v, mask, bias), "attention");
  });

  test("the bias is added before or after scaling", () => {
    const bias = normals([1, 4, QUERIES, KEYS], { seed: "bias" });
    const scale = DEPTH ** -0.5;
    const post = run({ attnBiasType: "post_scale_bias" }, q, k, v, null, bias.mul(scale));
    expectClose(run({ attnBiasType: "pre_scale_bias" }, q, k, v, null, bias), post, "attention");
    expectClose(run({}, q, k, v, null, bias.mul(scale)), post, "attention");
    expect(findBitDifference(run({}, q, k, v, null, bias), post)).toBeDefined();
  });

  test("a row that sees nothing gives zeros, forward and backward", () => {
    const blind = maskOf([BATCH, QUERIES, KEYS], (b, i) => b === 1 && i === 3);
    const [y, pull] = vjp(
      (q: Tensor, k: Tensor, v: Tensor) => run({ attnMaskType: "padding" }, q, k, v, blind),
      q,
      k,
      v,
    );
    const [dq, ...rest] = pull(y.mul(0).add(1)) as Tensor[];
    const row = (t: Tensor) => [...t.slice([1, 3, 0, 0], [2, 4, 4, DEPTH]).dataSync()];
    expect(row(y).every((value) => value === 0)).toBe(true);
    expect(row(dq!).every((value) => value === 0)).toBe(true);
    for (const t of [y, dq!, ...rest]) expect(Array.from(t.dataSync(), Number).every(Number.isFinite)).toBe(true);
  });

  test("lengths say what a mask of right padding says", () => {
    const lengths = tensor([KEYS - 2, KEYS - 5], { dtype: "int32" });
    const all = tensor([QUERIES, QUERIES], { dtype: "int32" });
    for (const attnMaskType of ["padding", "padding_causal"]) {
      const described = run({ attnMaskType }, q, k, v, SequenceDescriptor.fromSeqlens([all, lengths]));
      expectClose(described, run({ attnMaskType }, q, k, v, mask), "attention");
    }
  });

  test("sequences packed into one row attend as if each were alone", () => {
    const lengths = [5, 3, 4];
    const ids = lengths.flatMap((n, i) => Array(n).fill(i + 1));
    const positions = lengths.flatMap((n) => Array.from({ length: n }, (_, i) => i));
    const int = (values: number[]) => tensor([values], { dtype: "int32" });
    const packed = [q, k, v].map((t) => t.slice([0, 0, 0, 0], [1, QUERIES, 4, DEPTH]));
    const descriptor = SequenceDescriptor.fromSegmentIdsAndPos(int(ids), int(positions));
    const y = run({ attnMaskType: "padding_causal", windowSize: [2, 0] }, ...packed, descriptor);
    let start = 0;
    for (const length of lengths) {
      const cut = (t: Tensor) => t.slice([0, start, 0, 0], [1, start + length, 4, DEPTH]);
      expectClose(cut(y), run({ attnMaskType: "causal", windowSize: [2, 0] }, ...packed.map(cut)), "attention");
      start += length;
    }
  });

  test("off_by_one is learnable softmax at 0; the sink is not scaled and has a gradient", () => {
    const offset = normals([1, 4, 1, 1], { seed: "sink" });
    const module = new DotProductAttention({ headDim: DEPTH, numAttentionHeads: 4, softmaxType: "learnable" });
    const at = (softmax_offset: Tensor) =>
      module.apply({ params: { _UnfusedDotProductAttention_0: { softmax_offset } } } as never, q, k, v);
    expectClose(at(offset.mul(0)), run({ attnMaskType: "causal", softmaxType: "off_by_one" }, q, k, v), "attention");
    const one = tensor([[[[1]]]]);
    const zeroKeys = new DotProductAttention({
      headDim: 1,
      numAttentionHeads: 1,
      softmaxType: "learnable",
      attnMaskType: "no_mask",
    });
    const y = zeroKeys.apply(
      { params: { _UnfusedDotProductAttention_0: { softmax_offset: one.mul(0.5) } } } as never,
      one,
      tensor([1, 2, 3]).reshape([1, 3, 1, 1]),
      tensor([1, 0, 0]).reshape([1, 3, 1, 1]),
    );
    expect([...y.dataSync()][0]).toBeCloseTo(0.0853689, 6);
    const [, pull] = vjp(at, offset);
    const slope = (pull(q) as Tensor[])[0]!;
    expect([...slope.dataSync()].filter((value) => value === 0)).toEqual([]);
  });
});
