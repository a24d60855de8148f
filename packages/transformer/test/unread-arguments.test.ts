/** Arguments that an option leaves unread change nothing, as in the original, and are said once on stderr. */
import { random, type Tensor, tensor } from "@te/tensor";
import { expectError, findBitDifference, maskOf, normals } from "@te/testkit";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  DotProductAttention,
  MultiHeadAttention,
  RelativePositionBiases,
  SequenceDescriptor,
  TransformerLayer,
  type TransformerLayerOptions,
  TransformerLayerType,
} from "../src/index.js";

let written: ReturnType<typeof vi.spyOn>;
beforeEach(() => {
  written = vi.spyOn(process.stderr, "write").mockReturnValue(true);
});
afterEach(() => vi.restoreAllMocks());
/** What was written since the test began, by a body that nothing else runs like. */
function said(body: () => unknown): string[] {
  written.mockClear();
  body();
  return written.mock.calls.map(([text]: unknown[]) => String(text));
}

const still = { deterministic: true };
const x = normals([2, 4, 8]);
const q = normals([2, 4, 2, 4]);
const mask = maskOf([2, 4, 4], (_b, _i, j) => j === 0);
const small: TransformerLayerOptions = { hiddenSize: 8, mlpHiddenSize: 8, numAttentionHeads: 2 };
const layerOf = (options: object = {}) => new TransformerLayer({ ...small, ...options });

// The first test: a line that another has caused would not be said again.
test("nothing is said where the type reads it, with none, and while init makes a cache", () => {
  const padding = layerOf({ selfAttnMaskType: "padding_causal" });
  const decoder = layerOf({ layerType: TransformerLayerType.DECODER });
  const lines = said(() => {
    padding.init(random.key(0), x, null, mask, null, { ...still, decode: true });
    layerOf().init(random.key(0), x, null, null, null, still);
    decoder.init(random.key(0), x, x, null, mask, still);
    layerOf({ windowSize: [2, 0] }).init(random.key(0), x, { ...still, decode: true, maxDecodeLength: 4 });
  });
  expect(lines).toEqual([]);
});

describe("a mask that the mask type does not read", () => {
  test.each([
    ["causal", "padding_causal"],
    ["no_mask", "padding"],
    ["causal_bottom_right", "padding_causal_bottom_right"],
  ])("TransformerLayer, %s", (selfAttnMaskType, reading) => {
    const layer = layerOf({ selfAttnMaskType });
    const variables = layer.init(random.key(0), x, still);
    let masked: Tensor | undefined;
    const lines = said(() => {
      for (let i = 0; i < 3; i++) masked = layer.apply(variables, x, null, mask, still);
    });
    expect(lines).toEqual([
      `te: TransformerLayer: attentionMask is not read, as selfAttnMaskType is "${selfAttnMaskType}". Use selfAttnMaskType "${reading}" for it to count (in a mask 1 or true = hidden), or leave it out.\n`,
    ]);
    expect(findBitDifference(masked!, layer.apply(variables, x, still))).toBeUndefined();
  });

  test("MultiHeadAttention, and a descriptor", () => {
    const attention = new MultiHeadAttention({ headDim: 4, numAttentionHeads: 2 });
    const lengths = SequenceDescriptor.fromSeqlens(tensor([2, 3], { dtype: "int32" }));
    const lines = said(() => attention.init(random.key(0), x, x, lengths, still));
    expect(lines).toEqual([
      expect.stringMatching(/^te: MultiHeadAttention: mask is not read, as attnMaskType is "causal"/),
    ]);
  });

  test("DotProductAttention, as an argument and as the deprecated option", () => {
    const attention = new DotProductAttention({ headDim: 4, numAttentionHeads: 2 });
    expect(said(() => attention.apply({}, q, q, q, mask, still))).toEqual([
      expect.stringMatching(/^te: DotProductAttention: sequenceDescriptor is not read.*"padding_causal"/),
    ]);
    expect(said(() => attention.apply({}, q, q, q, { ...still, mask }))).toEqual([
      expect.stringMatching(/^te: DotProductAttention: mask is not read/),
    ]);
  });

  test("what is no mask at all is refused by every type", () => {
    for (const selfAttnMaskType of ["causal", "padding_causal"])
      for (const mask of [[[1, 0]], 1, true])
        expectError("option", /attentionMask must be a tensor or a SequenceDescriptor.*1 or true = hidden/, () =>
          layerOf({ selfAttnMaskType }).init(random.key(0), x, null, mask as never, null, still),
        );
  });
});

describe("other arguments", () => {
  const line = (text: string | RegExp) => [expect.stringMatching(text)];

  test("an ENCODER layer is given an encoder's output, or its mask", () => {
    const layer = layerOf();
    const variables = layer.init(random.key(0), x, still);
    expect(said(() => layer.apply(variables, x, mask.astype("float32"), still))).toEqual(
      line(
        /^te: TransformerLayer: encoded, the second argument, is not read, as layerType is ENCODER\. Use DECODER .*a mask is the third/,
      ),
    );
    expect(said(() => layer.apply(variables, x, null, null, mask, still))).toEqual(
      line(/^te: TransformerLayer: encoderDecoderMask is not read, as layerType is ENCODER\. attentionMask/),
    );
  });

  test("a length of the cache where there is none", () => {
    expect(said(() => layerOf().init(random.key(0), x, { ...still, maxDecodeLength: 4 }))).toEqual(
      line(/^te: TransformerLayer\.call: maxDecodeLength is not read, as decode is false/),
    );
  });

  test("a relative embedding while relative embedding is off", () => {
    const relativeEmbedding = new RelativePositionBiases({ numBuckets: 4, maxDistance: 8, numHeads: 2 });
    expect(said(() => layerOf({ relativeEmbedding, enableRelativeEmbedding: false }))).toEqual(
      line(/^te: TransformerLayer: relativeEmbedding is not read, as enableRelativeEmbedding is false/),
    );
  });

  test("keys and values beside operands that hold them", () => {
    const heads = { headDim: 4, numAttentionHeads: 2 };
    const [qkv, kv] = [normals([2, 4, 3, 2, 4]), normals([2, 4, 2, 2, 4])];
    const packed = new DotProductAttention({ ...heads, qkvLayout: "bs3hd" });
    expect(said(() => packed.apply({}, qkv, q, q, still))).toEqual([
      expect.stringMatching(/^te: DotProductAttention: key is not read, as qkvLayout is bs3hd/),
      expect.stringMatching(/^te: DotProductAttention: value is not read, as qkvLayout is bs3hd/),
    ]);
    const halfPacked = new DotProductAttention({ ...heads, qkvLayout: "bshd_bs2hd" });
    expect(said(() => halfPacked.apply({}, q, kv, q, still))).toEqual(
      line(/^te: DotProductAttention: value is not read, as qkvLayout is bshd_bs2hd/),
    );
  });

  test("options of what is off", () => {
    expect(said(() => layerOf({ rotaryPosEmbWindows: [1, 500000], rotaryPosEmbGroupMethod: "alternate" }))).toEqual([
      expect.stringMatching(/^te: TransformerLayer: rotaryPosEmbWindows is not read, as enableRotaryPosEmb is false/),
      expect.stringMatching(
        /^te: TransformerLayer: rotaryPosEmbGroupMethod is not read, as enableRotaryPosEmb is false/,
      ),
    ]);
    const adapters = { headDim: 4, numAttentionHeads: 2, lowRankAdaptationAlpha: 3 };
    expect(said(() => new MultiHeadAttention(adapters))).toEqual(
      line(
        /^te: MultiHeadAttention: lowRankAdaptationAlpha is not read, as lowRankAdaptationScope is "none"\. Name a scope/,
      ),
    );
    expect(said(() => layerOf({ mlpActivationParams: { limit: 3 } }))).toEqual(
      line(/^te: TransformerLayer: mlpActivationParams is not read, as no activation is clamped/),
    );
    const used = { enableRotaryPosEmb: true, lowRankAdaptationScope: "all", lowRankAdaptationDim: 2 };
    expect(said(() => layerOf({ ...used, rotaryPosEmbWindows: [1, 9] }).init(random.key(0), x, still))).toEqual([]);
  });

  test("a bias that the type does not take is refused", () => {
    const attention = new MultiHeadAttention({ headDim: 4, numAttentionHeads: 2, attnBiasType: "no_bias" });
    expectError(
      "option",
      /attnBiasType "no_bias" takes no bias, got a bias\. Use pre_scale_bias or post_scale_bias/,
      () => attention.init(random.key(0), x, x, null, normals([1, 2, 4, 4]), still),
    );
  });
});
