/** Decoding with a KV cache, a few tokens first and then one by one, gives the rows of the full forward pass. */
import { DelayedScaling, Float8CurrentScaling, fp8Autocast } from "@te/fp8";
import { concat, jit, random, type Tensor, tensor, where } from "@te/tensor";
import { expectClose, findBitDifference, limitOf, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import {
  MultiHeadAttention,
  RelativePositionBiases,
  SequenceDescriptor,
  TransformerLayer,
  type TransformerLayerOptions,
  TransformerLayerType,
} from "../src/index.js";
import { expectError, maskOf, normals, perturbed } from "./helpers.js";

const LENGTH = 9;
const base: TransformerLayerOptions = {
  hiddenSize: 16,
  mlpHiddenSize: 32,
  numAttentionHeads: 4,
  hiddenDropout: 0,
  attentionDropout: 0,
};

const kinds: [string, TransformerLayerOptions][] = [
  ["fused parameters, relative embedding", {}],
  ["separate parameters", { fuseQkvParams: false, enableRelativeEmbedding: false }],
  ["grouped heads", { numGqaGroups: 2, useBias: true }],
  ["one key head, RoPE", { numGqaGroups: 1, enableRotaryPosEmb: true, enableRelativeEmbedding: false }],
  ["RoPE by halves", { enableRotaryPosEmb: true, rotaryPosEmbGroupMethod: "alternate", rotaryPosEmbWindows: [1, 50] }],
  ["sequence-first", { transposeBatchSequence: true, numGqaGroups: 2 }],
  ["sequence-first, RoPE, separate", { transposeBatchSequence: true, enableRotaryPosEmb: true, fuseQkvParams: false }],
  ["window", { windowSize: [2, 0], enableRelativeEmbedding: false }],
  ["window, grouped heads", { windowSize: [3, 0], numGqaGroups: 2 }],
  ["learnable softmax", { softmaxType: "learnable", scaleAttnLogits: true }],
  ["off-by-one softmax, post-norm residual", { softmaxType: "off_by_one", applyResidualConnectionPostLayernorm: true }],
  ["output norm", { outputLayernorm: true }],
];

interface Setting {
  readonly layer: TransformerLayer;
  readonly x: Tensor;
  readonly variables: any;
  readonly axis: number;
  readonly extra: readonly unknown[];
}

function setUp(options: TransformerLayerOptions, extra: readonly unknown[] = []): Setting {
  const layer = new TransformerLayer({ ...base, ...options });
  const axis = options.transposeBatchSequence ? 0 : 1;
  const x = normals(axis === 0 ? [LENGTH, 2, 16] : [2, LENGTH, 16]);
  const made: any = layer.init(random.key(0), x, ...extra, { decode: true });
  return { layer, x, variables: { ...made, params: perturbed(made.params) }, axis, extra };
}

const rows = (x: Tensor, axis: number, from: number, to: number): Tensor =>
  x.slice(
    x.shape.map((_, i) => (i === axis ? from : 0)),
    x.shape.map((d, i) => (i === axis ? to : d)),
  );

/** Feeds chunks of these lengths, with the cache carried along. */
function decode({ layer, x, variables, axis, extra }: Setting, chunks: readonly number[], mask?: Tensor): Tensor {
  const step = jit((variables: any, fresh: Tensor, mask: Tensor | null) =>
    layer.apply(variables, fresh, extra[0] ?? null, mask, extra[2] ?? null, {
      decode: true,
      maxDecodeLength: LENGTH,
      mutable: ["cache"],
    }),
  );
  const parts: Tensor[] = [];
  let [at, cache] = [0, variables.cache];
  for (const count of chunks) {
    const [y, changed] = step(
      { ...variables, cache },
      rows(x, axis, at, at + count),
      mask ? rows(mask, 2, at, at + count) : null,
    );
    parts.push(y);
    cache = changed.cache;
    at += count;
  }
  const name = layer.layerType === TransformerLayerType.DECODER ? "self_attention" : "attention";
  expect(cache[name].cache_index.dataSync()[0]).toBe(at);
  return concat(parts, axis);
}

const ones = (n: number): number[] => Array(n).fill(1);

const chunkings: [string, number[]][] = [
  ["in uneven chunks", [3, 1, 4, 1]],
  ["token by token", ones(LENGTH)],
  ["a prefill of four, then single tokens", [4, ...ones(LENGTH - 4)]],
  ["all at once", [LENGTH]],
];

onEachDevice((device) => {
  describe.each(kinds)("%s", (_, options) => {
    const setting = () => setUp(options);

    // The reference is slow and computes each chunk alike: one way to cut says it all.
    test.each(device === "reference" ? chunkings.slice(0, 1) : chunkings)("%s", (_, chunks) => {
      const s = setting();
      const full = s.layer.apply({ params: s.variables.params }, s.x);
      expectClose(decode(s, chunks), full, "layer");
    });
  });

  test("a decoder decodes, its cross-attention included", () => {
    const encoded = normals([2, 5, 16], { seed: "encoded" });
    const mask = maskOf([2, LENGTH, 5], (b, _, j) => j >= 3 + b);
    const s = setUp({ layerType: TransformerLayerType.DECODER }, [encoded, null, mask]);
    const full = s.layer.apply({ params: s.variables.params }, s.x, encoded, null, mask);
    // The mask of the cross-attention has a row per new token.
    const perToken = { ...s, extra: [encoded, null, rows(mask, 2, 0, 1)] };
    expectClose(decode(perToken, ones(LENGTH)), full, "layer");
  });

  test("a mask hides cached keys as well", () => {
    const s = setUp({ enableRelativeEmbedding: false, selfAttnMaskType: "padding_causal" });
    const mask = maskOf([2, LENGTH, LENGTH], (b, _, j) => j > 0 && j < 1 + b);
    const full = s.layer.apply({ params: s.variables.params }, s.x, null, mask);
    expectClose(decode(s, [4, ...ones(LENGTH - 4)], mask), full, "layer");
    expect(
      findBitDifference(full, s.layer.apply({ params: s.variables.params }, s.x, null, mask.mul(0))),
    ).toBeDefined();
  });

  test("a mask is left alone where the mask type has no padding", () => {
    const s = setUp({});
    const mask = maskOf([2, LENGTH, LENGTH], (_b, _i, j) => j === 0);
    expect(findBitDifference(decode(s, [LENGTH], mask), decode(s, [LENGTH]))).toBeUndefined();
  });

  test("the cache starts empty, and init does not fill it", () => {
    const { variables } = setUp({});
    const { cached_key, cached_value, cache_index } = variables.cache.attention;
    for (const t of [cached_key, cached_value, cache_index])
      expect(t.dataSync().every((v: number) => v === 0)).toBe(true);
  });
});

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
  function feed(chunks: Tensor[], extra: (at: number, count: number) => [unknown, Tensor | null]): Tensor[] {
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
    const full = s.layer.apply({ params: s.variables.params }, s.x, ...s.extra);
    const perToken = { ...s, extra: [x, null, maskOf([2, 1, LENGTH], () => false)] };
    expectClose(decode(perToken, ones(LENGTH)), full, "layer");
    expectError("shape", /bias must have shape .*Give maxDecodeLength the cache's length/, () =>
      s.layer.apply(s.variables, rows(s.x, 1, 0, 1), ...perToken.extra, {
        decode: true,
        maxDecodeLength: 7,
        mutable: ["cache"],
      }),
    );
  });
});

describe("errors", () => {
  const attention = new MultiHeadAttention({ headDim: 4, numAttentionHeads: 2 });
  const x = normals([2, 6, 8]);
  const variables: any = attention.init(random.key(0), x, x, null, null, { decode: true });
  const decodeWith = (fresh: Tensor, extra: object = { mutable: ["cache"] }) =>
    attention.apply(variables, fresh, fresh, null, null, { decode: true, ...extra });

  test("more tokens than the cache has room for, another batch size, another dtype", () => {
    expectError(
      "shape",
      /new keys must fit the cache, float32\[2,6,2,4\], got float32\[2,7,2,4\].*init with decode: true/,
      () => decodeWith(normals([2, 7, 8])),
    );
    expectError("shape", /new keys must fit the cache/, () => decodeWith(normals([3, 1, 8])));
    expectError("shape", /new keys must fit the cache/, () => decodeWith(normals([2, 1, 8], { dtype: "bfloat16" })));
  });

  test("a cache that may not change", () => {
    expectError("state", /collection "cache" may not change here.*mutable: \["cache"\]/, () =>
      decodeWith(normals([2, 1, 8]), {}),
    );
  });

  test("no cache", () => {
    const { cache: _, ...rest } = variables;
    expectError("state", /variable cache\/cache_index does not exist/, () =>
      attention.apply(rest, x, x, null, null, { decode: true }),
    );
  });
});
