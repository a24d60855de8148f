/** What options of attention and of the layer change: initial values, adapters, residuals, biases, masks of dropout. */
import { createHash } from "node:crypto";
import { DenseGeneral, type Initializer, LayerNorm, LayerNormMLP, varianceScaling } from "@te/layers";
import { full, random, type Tensor } from "@te/tensor";
import { describeLeaves, expectClose, findBitDifference, maskOf, normals, onEachDevice, perturbed } from "@te/testkit";
import { describe, expect, test } from "vitest";
import {
  DotProductAttention,
  MultiHeadAttention,
  type MultiHeadAttentionOptions,
  TransformerLayer,
  type TransformerLayerOptions,
  TransformerLayerType,
} from "../src/index.js";

const x = normals([2, 5, 8]);
const small = { hiddenSize: 8, mlpHiddenSize: 16, numAttentionHeads: 2, hiddenDropout: 0, attentionDropout: 0 };
const plain = { ...small, enableRelativeEmbedding: false };
const all =
  (value: number): Initializer =>
  (_, shape, dtype) =>
    full(shape, value, { dtype });
const values = (t: Tensor): number[] => Array.from(t.dataSync(), Number);
const layerOf = (options: TransformerLayerOptions): { layer: TransformerLayer; params: any } => {
  const layer = new TransformerLayer(options);
  return { layer, params: perturbed(layer.init(random.key(0), x).params) };
};
const run = (options: TransformerLayerOptions, params: any, call: object = {}): Tensor =>
  new TransformerLayer(options).apply({ params }, x, call);

describe("initial values", () => {
  test("kernelInit, biasInit, scaledQueryInit", () => {
    const options: MultiHeadAttentionOptions = {
      headDim: 4,
      numAttentionHeads: 2,
      kernelInit: all(3),
      biasInit: all(2),
      useBias: true,
    };
    const of = (extra: object): any =>
      new MultiHeadAttention({ ...options, ...extra }).init(random.key(0), x, x).params;
    const { qkv, out } = of({});
    const slice = (i: number): Set<number> => new Set(values(qkv.kernel.at(":", i)));
    expect([slice(0), slice(1), slice(2)]).toEqual([new Set([1.5]), new Set([3]), new Set([3])]);
    expect(new Set([...values(qkv.bias), ...values(out.bias)])).toEqual(new Set([2]));
    expect(new Set(values(out.kernel))).toEqual(new Set([3]));
    expect(new Set(values(of({ scaledQueryInit: false }).qkv.kernel))).toEqual(new Set([3]));
    expect(new Set(values(of({ fuseQkvParams: false }).query.kernel))).toEqual(new Set([1.5]));
  });

  // Recorded from JAX's kernel / sqrt(12), where the root is no number of the dtype.
  test.each([
    ["float32", "282a5bca472e166b"],
    ["bfloat16", "f76fb3c0f4fdbd28"],
    ["float16", "86fd94aeb1eea2a1"],
  ] as const)("a query kernel of 12 numbers per head has the original's bits, %s", (dtype, sha256) => {
    const draw = varianceScaling(1, "fan_in", "truncated_normal");
    const kernelInit: Initializer = (_, shape, dtype) => draw(random.key(7), shape, dtype);
    const options = { headDim: 12, numAttentionHeads: 4, fuseQkvParams: false, kernelInit, dtype };
    const inputs = normals([1, 2, 36], { dtype });
    const { query }: any = new MultiHeadAttention(options).init(random.key(0), inputs, inputs).params;
    const bytes = query.kernel.dataSync();
    const digest = createHash("sha256").update(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    expect(digest.digest("hex").slice(0, 16)).toBe(sha256);
  });

  test("mhaKernelInit, mlpKernelInit, biasInit", () => {
    const { params }: any = new TransformerLayer({
      ...plain,
      mhaKernelInit: all(3),
      mlpKernelInit: all(5),
      biasInit: all(2),
      useBias: true,
    }).init(random.key(0), x);
    expect(new Set(values(params.attention.out.kernel))).toEqual(new Set([3]));
    expect(new Set([...values(params.mlp.wi_kernel), ...values(params.mlp.wo_kernel)])).toEqual(new Set([5]));
    const biases = [params.attention.qkv.bias, params.attention.out.bias, params.mlp.wi_bias, params.mlp.wo_bias];
    expect(new Set(biases.flatMap(values))).toEqual(new Set([2]));
  });

  test("the default of kernels is that of the original: fan-in, normal, query over sqrt(headDim)", () => {
    const wide = normals([1, 2, 64]);
    const { qkv }: any = new MultiHeadAttention({ headDim: 16, numAttentionHeads: 4 }).init(
      random.key(0),
      wide,
      wide,
    ).params;
    const deviation = (t: Tensor): number => Math.sqrt(values(t).reduce((s, v) => s + v * v, 0) / t.size);
    const expected = deviation(varianceScaling(1, "fan_in", "normal")(random.key(0), [64, 64], "float32"));
    expect(deviation(qkv.kernel.at(":", 1)) / expected).toBeCloseTo(1, 1);
    expect(deviation(qkv.kernel.at(":", 0)) / expected).toBeCloseTo(1 / 4, 1);
  });
});

describe("adapters", () => {
  const parts = {
    qkv: "attention/qkv/lora_a_kernel",
    output: "attention/out/lora_a_kernel",
    mlp: "mlp/wi_lora_a_kernel",
  };
  const scopes: [string | null, (keyof typeof parts)[]][] = [
    [null, []],
    ["none", []],
    ["all", ["qkv", "output", "mlp"]],
    ["qkv_proj", ["qkv"]],
    ["output_proj", ["output"]],
    ["mlp", ["mlp"]],
    ["exclude_qkv_proj", ["output", "mlp"]],
    ["Exclude_Output_Proj", ["qkv", "mlp"]],
    ["EXCLUDE_MLP", ["qkv", "output"]],
  ];
  test.each(scopes)("lowRankAdaptationScope %s: %j", (lowRankAdaptationScope, expected) => {
    const { params } = new TransformerLayer({ ...plain, lowRankAdaptationScope, lowRankAdaptationDim: 3 }).init(
      random.key(0),
      x,
    );
    const names = describeLeaves(params).map((leaf) => leaf.split(" ")[0]);
    const found = Object.entries(parts).flatMap(([part, name]) => (names.includes(name) ? [part] : []));
    expect(found).toEqual(expected);
  });

  test("lowRankAdaptationAlpha scales what they add by alpha / rank", () => {
    const options = {
      headDim: 4,
      numAttentionHeads: 2,
      lowRankAdaptationScope: "output_proj",
      lowRankAdaptationDim: 2,
    };
    const attention = (lowRankAdaptationAlpha: number | null) =>
      new MultiHeadAttention({ ...options, lowRankAdaptationAlpha });
    const { params }: any = attention(null).init(random.key(0), x, x);
    const adapted = { ...params, out: { ...params.out, lora_b_kernel: normals([2, 8], { seed: "b" }) } };
    const at = (alpha: number | null, p: any): Tensor => attention(alpha).apply({ params: p }, x, x)[0];
    const none = at(null, params);
    expectClose(at(6, adapted).sub(none), at(null, adapted).sub(none).mul(3), "layer");
  });
});

onEachDevice(() => {
  describe("residuals", () => {
    const norm = (p: any, x: Tensor): Tensor =>
      new LayerNorm().apply({ params: { scale: p.scale, ln_bias: p.ln_bias } }, x);
    test.each([
      [false, false],
      [false, true],
      [true, false],
      [true, true],
    ])("outputLayernorm %s, applyResidualConnectionPostLayernorm %s", (outputLayernorm, post) => {
      const { layer, params } = layerOf({ ...plain, outputLayernorm, applyResidualConnectionPostLayernorm: post });
      const inner = outputLayernorm ? x : norm(params.attention.qkv, x);
      const { kernel } = params.attention.qkv;
      const heads = new DenseGeneral({ features: [3, 8] })
        .apply({ params: { kernel } }, inner)
        .reshape([2, 5, 3, 2, 4]);
      const context = new DotProductAttention({
        headDim: 4,
        numAttentionHeads: 2,
        qkvLayout: "bs3hd",
        scaleFactor: 1,
      }).apply({}, heads);
      const attended = new DenseGeneral({ features: 8 }).apply(
        { params: params.attention.out },
        context.reshape([2, 5, 8]),
      );
      const sum = attended.add(post ? inner : x);
      const [transformed] = new LayerNormMLP({ intermediateDim: 16 }).apply({ params: params.mlp }, sum);
      const result = transformed.add(post ? norm(params.mlp, sum) : sum);
      const expected = outputLayernorm ? norm(params.output_layernorm, result) : result;
      expectClose(layer.apply({ params }, x), expected, "layer");
    });
  });

  describe("selfAttnBiasType", () => {
    test("post_scale_bias is what null means beside a relative embedding, pre_scale_bias is scaled too", () => {
      const options = { ...small, scaleAttnLogits: true };
      const { params } = layerOf(options);
      const by = (selfAttnBiasType: string | null): Tensor => run({ ...options, selfAttnBiasType }, params);
      expect(findBitDifference(by("post_scale_bias"), by(null))).toBeUndefined();
      const table = params.relpos_bias.rel_embedding.mul(2); // 1 / scale
      const larger = { ...params, relpos_bias: { rel_embedding: table } };
      expectClose(run({ ...options, selfAttnBiasType: "pre_scale_bias" }, larger), by(null), "layer");
    });
  });

  test("mlpActivationParams reach the clamped activation", () => {
    const options = { ...plain, mlpActivations: ["clamped_silu", "clamped_linear"] };
    const { params } = layerOf(options);
    const by = (mlpActivationParams: TransformerLayerOptions["mlpActivationParams"]): Tensor =>
      run({ ...options, mlpActivationParams: mlpActivationParams! }, params);
    expect(findBitDifference(by({ limit: 7, alpha: 1.702, gluLinearOffset: 1 }), by(null))).toBeUndefined();
    for (const changed of [{ limit: 0.1 }, { alpha: 3 }, { gluLinearOffset: 0 }])
      expect(findBitDifference(by(changed), by(null)), JSON.stringify(changed)).toBeDefined();
  });

  test("intermediateDropoutDims share the mask inside the MLP", () => {
    const options = { ...plain, intermediateDropout: 0.5, selfAttnMaskType: "no_mask" };
    const { params } = layerOf(options);
    // Equal tokens stay equal where they share the mask.
    const same = normals([1, 1, 8]).broadcastTo([2, 5, 8]);
    const equal = (intermediateDropoutDims: number[]): boolean => {
      const y = new TransformerLayer({ ...options, intermediateDropoutDims }).apply({ params }, same, {
        rngs: { dropout: random.key(1) },
      });
      return values(y.at(0, 0)).join() === values(y.at(0, 3)).join();
    };
    expect([equal([]), equal([1])]).toEqual([false, true]);
  });

  test("windowSize and softmaxType are those of cross-attention too", () => {
    const options: TransformerLayerOptions = { ...plain, layerType: TransformerLayerType.DECODER };
    const encoded = normals([2, 7, 8], { seed: "encoded" });
    const mask = maskOf([2, 5, 7], () => false);
    const { params }: any = new TransformerLayer(options).init(random.key(0), x, encoded, null, mask);
    const at = (extra: object, given: Tensor): Tensor =>
      new TransformerLayer({ ...options, selfAttnMaskType: "no_mask", ...extra }).apply(
        { params },
        x,
        given,
        null,
        mask,
      );
    // Key 6 is out of reach of every query in a window of 1.
    const other = encoded.add(
      maskOf([2, 7, 1], (_b, i) => i === 6)
        .reshape([2, 7, 1])
        .astype("float32"),
    );
    expect(findBitDifference(at({ windowSize: [-1, 1] }, other), at({ windowSize: [-1, 1] }, encoded))).toBeUndefined();
    expect(findBitDifference(at({}, other), at({}, encoded))).toBeDefined();
    const learnable: any = new TransformerLayer({ ...options, softmaxType: "learnable" }).init(
      random.key(0),
      x,
      encoded,
      null,
      mask,
    ).params;
    for (const name of ["self_attention", "encoder_decoder_attention"])
      expect(
        describeLeaves(learnable[name]).some((leaf) => leaf.includes("softmax_offset")),
        name,
      ).toBe(true);
  });
});
