/** Decoding with a KV cache, a few tokens first and then one by one, gives the rows of the full forward pass. */
import { random, type Tensor } from "@te/tensor";
import { expectClose, expectError, findBitDifference, maskOf, normals, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { MultiHeadAttention, type TransformerLayerOptions, TransformerLayerType } from "../src/index.js";
import { decode, LENGTH, ones, rows, setUp } from "./decode-setup.js";

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
