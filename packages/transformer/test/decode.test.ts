/** Decoding with a KV cache, a few tokens first and then one by one, gives the rows of the full forward pass. */
import type { Module, Variables, VariableTree } from "@te/layers";
import { jit, random, type Tensor, tensor } from "@te/tensor";
import { expectClose, expectError, findBitDifference, maskOf, normals, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import {
  MultiHeadAttention,
  TransformerLayer,
  type TransformerLayerOptions,
  TransformerLayerType,
} from "../src/index.js";
import { base, decode, LENGTH, ones, rows, setUp, tensorIn } from "./decode-setup.js";

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
    for (const name of ["cached_key", "cached_value", "cache_index"])
      expect(
        tensorIn(variables.cache!, "attention", name)
          .dataSync()
          .every((v) => v === 0),
      ).toBe(true);
  });
});

onEachDevice(() => {
  describe("a token beyond the cache is an error where a result is read", () => {
    const beyond = (count: number, room: number): RegExp => {
      const tokens = count === 1 ? "a token is" : `${count} tokens are`;
      const rule = `^MultiHeadAttention: cache_index, where ${tokens} added to a cache of ${LENGTH}, must be in \\[0, ${room}\\]`;
      return new RegExp(`${rule}, got ${LENGTH - 1 + (count === 1 ? 1 : 0)}\\. Call init with longer inputs`);
    };

    test.each(kinds)("%s", async (_, options) => {
      const { layer, variables, x, axis } = setUp(options);
      const step = (cache: VariableTree, count: number) =>
        layer.apply({ ...variables, cache }, rows(x, axis, 0, count), { decode: true, mutable: ["cache"] });
      const [, almost] = step(variables.cache!, LENGTH - 1);
      const [late] = step(almost.cache, 2);
      await expect(late.data()).rejects.toThrow(beyond(2, LENGTH - 2));
      const [last, full] = step(almost.cache, 1);
      await expect(last.data()).resolves.toBeDefined();
      const [more, after] = step(full.cache, 1);
      await expect(more.data()).rejects.toThrow(beyond(1, LENGTH - 1));
      await expect(tensorIn(after.cache, "attention", "cached_key").data()).rejects.toThrow(beyond(1, LENGTH - 1));
      await expect(step(after.cache, 1)[0].data()).rejects.toThrow(beyond(1, LENGTH - 1));
    });

    test("in a compiled step, and for an index below 0", async () => {
      const { layer, variables, x } = setUp({});
      const step = jit((variables: Variables, fresh: Tensor) =>
        layer.apply(variables, fresh, { decode: true, mutable: ["cache"] }),
      );
      const at = (index: number) => {
        const cache = variables.cache!.attention as VariableTree;
        const attention = { ...cache, cache_index: tensor(Int32Array.of(index)).reshape([]) };
        return step({ ...variables, cache: { attention } }, rows(x, 1, 0, 1));
      };
      await expect(at(LENGTH - 1)[0].data()).resolves.toBeDefined();
      for (const index of [LENGTH, -1, 2 ** 31 - 1])
        await expect(at(index)[0].data()).rejects.toMatchObject({
          code: "index",
          message: expect.stringMatching(`got ${index}`),
        });
    });
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

  const needed =
    /^MultiHeadAttention: decode needs the variable cached_key of collection cache, got none\. Call init with dec/;

  test("no cache, whether or not one may be made", () => {
    const { cache: _, ...rest } = variables;
    for (const options of [{}, { mutable: ["cache"] }])
      expectError("state", needed, () =>
        (attention as Module).apply(rest, x, x, null, null, { decode: true, ...options }),
      );
    const layer = new TransformerLayer(base);
    const inputs = normals([2, 3, 16]);
    const params = layer.init(random.key(0), inputs).params;
    for (const fresh of [inputs, rows(inputs, 1, 0, 1)])
      expectError("state", needed, () => layer.apply({ params }, fresh, { decode: true, mutable: ["cache"] }));
  });

  test("a part of a cache, and parts that do not go together", () => {
    const { cache } = variables;
    const decodeFrom = (changed: object) => () =>
      attention.apply({ ...variables, cache: { ...cache, ...changed } }, x, x, null, null, {
        decode: true,
        mutable: ["cache"],
      });
    for (const name of Object.keys(cache))
      expectError("state", new RegExp(`decode needs the variable ${name} of collection cache`), () => {
        const { [name]: _, ...rest } = cache;
        attention.apply({ ...variables, cache: rest }, x, x, null, null, { decode: true, mutable: ["cache"] });
      });
    const values =
      /cached_value must have the batch, length and heads of cached_key, \[2,6,2,4\], got float32\[2,5,2,4\]/;
    expectError("shape", values, decodeFrom({ cached_value: cache.cached_value.at(":", [0, 5]) }));
    expectError("shape", /new values must fit the cache/, decodeFrom({ cached_value: normals([2, 6, 2, 3]) }));
    expectError(
      "shape",
      /cached_key must have 4 axes, got float32\[2,6,8\]/,
      decodeFrom({ cached_key: normals([2, 6, 8]) }),
    );
    expectError(
      "shape",
      /cache_index must be int32\[\], got int32\[1\]/,
      decodeFrom({ cache_index: tensor(Int32Array.of(0)) }),
    );
    expectError("shape", /cache_index must be int32\[\], got float32\[\]/, decodeFrom({ cache_index: tensor(0) }));
  });

  test("keys and values of other tokens than the queries", () => {
    const message =
      /decode takes inputsQ and inputsKv of the same new tokens, got .*float32\[2,1,8\], float32\[2,2,8\]/;
    expectError("shape", message, () =>
      attention.apply(variables, normals([2, 1, 8]), normals([2, 2, 8]), null, null, {
        decode: true,
        mutable: ["cache"],
      }),
    );
  });
});
