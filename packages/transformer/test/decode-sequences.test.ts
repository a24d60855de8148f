/** Decoding with biases, sequence descriptors and relative embeddings of one's own, and in FP8. */

import { DelayedScaling, Float8CurrentScaling, fp8Autocast } from "@te/fp8";
import type { Module } from "@te/layers";
import { concat, random, type Tensor, tensor, where } from "@te/tensor";
import {
  expectClose,
  expectError,
  findBitDifference,
  limitOf,
  maskOf,
  normals,
  onEachDevice,
  perturbed,
} from "@te/testkit";
import { expect, test } from "vitest";
import {
  MultiHeadAttention,
  RelativePositionBiases,
  SequenceDescriptor,
  TransformerLayer,
  type TransformerLayerOptions,
  TransformerLayerType,
} from "../src/index.js";
import { base, decode, LENGTH, ones, rows, setUp } from "./decode-setup.js";

onEachDevice(() => {
  const attention = new MultiHeadAttention({
    headDim: 4,
    numAttentionHeads: 4,
    numGqaGroups: 2,
    attnMaskType: "padding",
  });
  const x = normals([2, LENGTH, 16]);
  // What "padding" shows of a whole sequence is up to its mask.
  const causal = maskOf([2, LENGTH, LENGTH], (_b, i, j) => j > i);
  const made: any = attention.init(random.key(0), x, x, null, null, { decode: true });
  const variables = { ...made, params: perturbed(made.params) };
  const whole = (x: Tensor, bias: Tensor | null = null): Tensor =>
    attention.apply(
      { params: variables.params },
      x,
      x,
      causal.at(":", ":", [0, x.shape[1]!], [0, x.shape[1]!]).at([0, x.shape[0]!]),
      bias,
    )[0];

  /** Feeds these chunks, each with the mask or descriptor and the bias that `extra` gives for its first token and length. */
  function feed(
    chunks: Tensor[],
    extra: (at: number, count: number) => [mask: Tensor | SequenceDescriptor | null, bias: Tensor | null],
  ): Tensor[] {
    let [at, cache] = [0, variables.cache];
    return chunks.map((fresh) => {
      const count = fresh.shape[1]!;
      const [[y], changed] = attention.apply({ ...variables, cache }, fresh, fresh, ...extra(at, count), {
        decode: true,
        mutable: ["cache"],
      });
      cache = changed.cache;
      at += count;
      return y;
    });
  }
  const cut = (x: Tensor, from: number, to: number): Tensor => rows(x, 1, from, to);
  const int = (values: number[][]): Tensor => tensor(values, { dtype: "int32" });

  test("a bias has the rows of the new tokens or of all positions", () => {
    const bias = normals([1, 4, LENGTH, LENGTH], { seed: "bias" });
    const chunks = [cut(x, 0, 4), cut(x, 4, 5), cut(x, 5, LENGTH)];
    const full = whole(x, bias);
    expectClose(
      concat(
        feed(chunks, () => [null, bias]),
        1,
      ),
      full,
      "layer",
    );
    const own = (at: number, count: number): [null, Tensor] => [null, rows(bias, 2, at, at + count)];
    expectClose(concat(feed(chunks, own), 1), full, "layer");
    expectError(
      "shape",
      /bias must have shape \[.., .., 4 or 9, 9\], the new tokens or all positions of the cache/,
      () => feed(chunks, () => [null, normals([1, 4, 6, 6])]),
    );
  });

  test("prompts of different lengths, padded on the right, with garbage in the padding", () => {
    const lengths = [4, 2];
    const prompt = cut(x, 0, 4);
    const spoiled = where(
      int(lengths.map((n) => [0, 1, 2, 3].map((i) => Number(i >= n))))
        .expandDims(2)
        .eq(1),
      Number.NaN,
      prompt,
    );
    // Row b is real up to its length, and again from place 4 on, where tokens are generated.
    const idsOf = (from: number, to: number): Tensor =>
      int(lengths.map((n) => Array.from({ length: to - from }, (_, i) => Number(from + i < n || from + i >= 4))));
    const places = (from: number, to: number): Tensor =>
      int(lengths.map(() => Array.from({ length: to - from }, (_, i) => from + i)));
    const descriptor = (at: number, count: number): SequenceDescriptor =>
      SequenceDescriptor.fromSegmentIdsAndPos(
        [idsOf(at, at + count), idsOf(0, LENGTH)],
        [places(at, at + count), places(0, LENGTH)],
      );
    const parts = feed([spoiled, cut(x, 4, 5), cut(x, 5, LENGTH)], (at, count) => [descriptor(at, count), null]);
    lengths.forEach((n, b) => {
      const alone = whole(concat([x.at([b, b + 1], [0, n]), x.at([b, b + 1], [4, LENGTH])], 1));
      const found = concat([parts[0]!.at([b, b + 1], [0, n]), ...parts.slice(1).map((y) => y.at([b, b + 1]))], 1);
      expectClose(found, alone, "layer");
    });
    const seqlens = SequenceDescriptor.fromSeqlens(tensor(lengths, { dtype: "int32" }));
    const [first] = feed([spoiled], () => [seqlens, null]);
    lengths.forEach((n, b) => {
      expect(findBitDifference(first!.at([b, b + 1], [0, n]), parts[0]!.at([b, b + 1], [0, n]))).toBeUndefined();
    });
  });

  test("prompts padded on the left keep the distances that rotary embedding sees", () => {
    const pads = [0, 3];
    const layer = new TransformerLayer({
      ...base,
      enableRelativeEmbedding: false,
      enableRotaryPosEmb: true,
      numGqaGroups: 1,
      selfAttnMaskType: "padding_causal",
    });
    const made: any = layer.init(random.key(0), x, { decode: true });
    const real = (from: number, to: number): Tensor =>
      int(pads.map((pad) => Array.from({ length: to - from }, (_, i) => Number(from + i >= pad))));
    const places = (from: number, to: number): Tensor =>
      int(pads.map(() => Array.from({ length: to - from }, (_, i) => from + i)));
    let [at, cache] = [0, made.cache];
    const parts = [5, 1, 3].map((count) => {
      const sequences = SequenceDescriptor.fromSegmentIdsAndPos(
        [real(at, at + count), real(0, LENGTH)],
        [places(at, at + count), places(0, LENGTH)],
      );
      const fresh = cut(x, at, at + count);
      const [y, changed] = layer.apply({ ...made, cache }, fresh, null, sequences, {
        decode: true,
        mutable: ["cache"],
      });
      cache = changed.cache;
      at += count;
      return y;
    });
    const all = concat(parts, 1);
    pads.forEach((pad, b) => {
      const none = maskOf([1, LENGTH - pad, LENGTH - pad], () => false);
      const alone = layer.apply({ params: made.params }, x.at([b, b + 1], [pad, LENGTH]), null, none);
      expectClose(all.at([b, b + 1], [pad, LENGTH]), alone, "layer");
    });
  });

  test.each([
    ["delayed scaling", new DelayedScaling({ amaxHistoryLen: 4 })],
    ["current scaling", new Float8CurrentScaling()],
  ])("in FP8, %s: the cache holds high precision", (_, recipe) => {
    fp8Autocast({ enabled: true, fp8Recipe: recipe }, () => {
      const wide: TransformerLayerOptions = { ...base, hiddenSize: 32, mlpHiddenSize: 64 };
      const layer = new TransformerLayer(wide);
      const x = normals([2, LENGTH, 32], { dtype: "bfloat16" });
      const { cache, ...rest }: any = layer.init(random.key(0), x, { decode: true });
      expect(cache.attention.cached_key.dtype).toBe("bfloat16");
      const full = layer.apply(rest, x).astype("float32");
      const [first, changed] = layer.apply({ ...rest, cache }, cut(x, 0, 5), { decode: true, mutable: ["cache"] });
      const [second] = layer.apply({ ...rest, ...changed }, cut(x, 5, LENGTH), { decode: true, mutable: ["cache"] });
      // Scales may differ by chunk, so that rounding does.
      const difference = concat([first, second], 1).astype("float32").sub(full);
      const size = (t: Tensor): number => Math.sqrt(t.mul(t).sum().dataSync()[0]! as number);
      expect(size(difference) / size(full.sub(x.astype("float32")))).toBeLessThan(limitOf("layerFp8", "float32").n);
    });
  });

  test("a relative embedding of one's own, named after the property; maxDecodeLength is the cache's length", () => {
    const relativeEmbedding = new RelativePositionBiases({ numBuckets: 4, maxDistance: 8, numHeads: 4 });
    const s = setUp({ layerType: TransformerLayerType.DECODER, relativeEmbedding }, [
      x,
      null,
      maskOf([2, LENGTH, LENGTH], () => false),
    ]);
    expect(Object.keys(s.variables.params)).toContain("relative_embedding");
    const full = (s.layer as Module).apply({ params: s.variables.params }, s.x, ...s.extra);
    const perToken = { ...s, extra: [x, null, maskOf([2, 1, LENGTH], () => false)] };
    expectClose(decode(perToken, ones(LENGTH)), full, "layer");
    expectError("shape", /bias must have shape .*Give maxDecodeLength the cache's length/, () =>
      (s.layer as Module).apply(s.variables, rows(s.x, 1, 0, 1), ...perToken.extra, {
        decode: true,
        maxDecodeLength: 7,
        mutable: ["cache"],
      }),
    );
  });
});
