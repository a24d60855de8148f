/** What attention modules and the transformer layer refuse, and how they say it. */
import type { Module } from "@te/layers";
import { random } from "@te/tensor";
import { expectError, maskOf, normals } from "@te/testkit";
import { describe, expect, test } from "vitest";
import {
  DotProductAttention,
  MultiHeadAttention,
  RelativePositionBiases,
  TransformerLayer,
  TransformerLayerType,
} from "../src/index.js";

const heads = { headDim: 4, numAttentionHeads: 2 };
const x = normals([2, 3, 8]);
const q = normals([2, 3, 2, 4]);
const layer = { hiddenSize: 8, mlpHiddenSize: 16, numAttentionHeads: 2, hiddenDropout: 0, attentionDropout: 0 };
const attend =
  (options: object, ...args: unknown[]) =>
  () =>
    (new DotProductAttention({ ...heads, ...options }) as Module).apply({}, ...args);
const initLayer =
  (options: object, ...args: unknown[]) =>
  () =>
    (new TransformerLayer({ ...layer, ...options }) as Module).init(random.key(0), ...args);

describe("MultiHeadAttention", () => {
  test("options", () => {
    expectError(
      "option",
      /rotaryPosEmbGroupMethod must be consecutive or alternate, got "pairs"/,
      () => new MultiHeadAttention({ ...heads, rotaryPosEmbGroupMethod: "pairs" }),
    );
    expectError(
      "option",
      /lowRankAdaptationScope must be one of none, all, .*got "everything"/,
      () => new MultiHeadAttention({ ...heads, lowRankAdaptationScope: "everything" }),
    );
    expectError("option", /numAttentionHeads is required/, () => new MultiHeadAttention({ headDim: 4 }));
    expectError(
      "option",
      /numAttentionHeads must be a multiple of numGqaGroups/,
      () => new MultiHeadAttention({ ...heads, numGqaGroups: 3 }),
    );
    for (const options of [{ rotaryPosEmbGroupMethod: " Con-secutive" }, { lowRankAdaptationScope: "Exclude_MLP" }]) {
      expect(() => new MultiHeadAttention({ ...heads, ...options })).not.toThrow();
    }
  });

  test("inputs", () => {
    const module = new MultiHeadAttention(heads);
    expectError("shape", /inputsQ must have 3 axes \(batch, sequence, hidden\)/, () =>
      module.init(random.key(0), q, q),
    );
    expectError("dtype", /inputsQ and inputsKv must have one dtype, got float32 and bfloat16/, () =>
      module.init(random.key(0), x, x.astype("bfloat16")),
    );
  });
});

describe("unknown options", () => {
  const make = {
    DotProductAttention: (options: object) => new DotProductAttention({ ...heads, ...options }),
    MultiHeadAttention: (options: object) => new MultiHeadAttention({ ...heads, ...options }),
    TransformerLayer: (options: object) => new TransformerLayer({ ...layer, ...options }),
    RelativePositionBiases: (options: object) =>
      new RelativePositionBiases({ numBuckets: 8, maxDistance: 16, numAttentionHeads: 2, ...options }),
  };
  test.each([
    ["DotProductAttention", { attn_mask_type: "causal" }, "attnMaskType"],
    ["DotProductAttention", { softmaxtype: "vanilla" }, "softmaxType"],
    ["MultiHeadAttention", { useBiases: true }, "useBias"],
    ["MultiHeadAttention", { fuseQkvParam: true }, "fuseQkvParams"],
    ["TransformerLayer", { selfAttentionMaskType: "causal" }, "selfAttnMaskType"],
    ["TransformerLayer", { numAttentionHead: 2 }, "numAttentionHeads"],
    ["RelativePositionBiases", { embedding_init: null }, "embeddingInit"],
  ] as const)("%s %o", (name, options, nearest) => {
    const [key] = Object.keys(options);
    const message = new RegExp(`^${name}: unknown option ${key}. Did you mean ${nearest}\\? Options: `);
    expectError("option", message, () => make[name](options));
  });

  test("strings that are none", () => {
    const gone = new Float32Array(4);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    for (const value of [gone, Object.create(null), ["causal"], new Array(2 ** 32 - 1), Symbol("causal")]) {
      for (const option of ["attnMaskType", "attnBiasType", "softmaxType", "qkvLayout", "windowSize"])
        expectError("option", new RegExp(`${option} must be .*, got `), () =>
          make.DotProductAttention({ [option]: value }),
        );
      for (const option of ["rotaryPosEmbGroupMethod", "lowRankAdaptationScope"])
        expectError("option", new RegExp(`${option} must be .*, got `), () =>
          make.MultiHeadAttention({ [option]: value }),
        );
    }
    for (const value of [null, 3]) {
      const got = `must be .*, got ${value}`;
      const attention = { attnMaskType: value, softmaxType: value, qkvLayout: value };
      for (const [name, option] of Object.entries(attention))
        expectError("option", new RegExp(`${name} ${got}`), () => make.DotProductAttention({ [name]: option }));
      expectError("option", new RegExp(`rotaryPosEmbGroupMethod ${got}`), () =>
        make.MultiHeadAttention({ rotaryPosEmbGroupMethod: value }),
      );
    }
    const scope = () => make.MultiHeadAttention({ lowRankAdaptationScope: 3 });
    expectError("option", /lowRankAdaptationScope must be .*, got 3/, scope);
    expectError("option", /attnBiasType must be .*, got 3/, attend({ attnBiasType: 3 }, q, q, q));
  });

  test("flags under deprecated names and rates that are none", () => {
    expectError("option", /fuseQkvParams must be true or false, got 1/, () => make.MultiHeadAttention({ fuseQkv: 1 }));
    for (const attentionDropout of ["", false, []])
      expectError("option", /attentionDropout must be in \[0, 1\)/, () =>
        make.DotProductAttention({ attentionDropout }),
      );
  });

  test("arguments that are no tensors", () => {
    expectError("option", /^DotProductAttention: query must be a tensor, got null/, attend({}, null, q, q));
    expectError("option", /^DotProductAttention: bias must be a tensor, got 3/, attend({}, q, q, q, null, 3));
    expectError("option", /^MultiHeadAttention: inputsKv must be a tensor, got undefined/, () =>
      make.MultiHeadAttention({}).init(random.key(0), x, undefined as never),
    );
    expectError("option", /^TransformerLayer: inputs must be a tensor, got null/, initLayer({}, null));
  });

  test("lengths that are none", () => {
    for (const length of [-1, 1.5, Number.NaN])
      expectError("option", /RelativePositionBiases: keyLength must be an integer of at least 0/, () =>
        make.RelativePositionBiases({}).init(random.key(0), 3, length),
      );
  });

  test("of the call, of another kind", () => {
    const flag = (name: string) => new RegExp(`^${name} must be true or false, got no`);
    expectError(
      "option",
      flag("DotProductAttention.call: deterministic"),
      attend({}, q, q, q, { deterministic: "no" }),
    );
    expectError("option", flag("MultiHeadAttention.call: decode"), () =>
      make.MultiHeadAttention({}).init(random.key(0), x, x, { decode: "no" as never }),
    );
    expectError("option", flag("TransformerLayer.call: decode"), initLayer({}, x, { decode: "no" }));
    expectError("option", flag("RelativePositionBiases.call: bidirectional"), () =>
      make.RelativePositionBiases({}).init(random.key(0), 3, 3, { bidirectional: "no" as never }),
    );
    for (const maxDecodeLength of [0, -1, 1.5, "8"])
      expectError(
        "option",
        /^TransformerLayer\.call: maxDecodeLength must be an integer of at least 1, or null, got/,
        initLayer({}, x, { decode: true, maxDecodeLength }),
      );
  });

  test("of the call", () => {
    expectError(
      "option",
      /DotProductAttention.call: unknown option determinstic. Did you mean deterministic/,
      attend({}, q, q, q, { determinstic: true }),
    );
    expectError("option", /MultiHeadAttention.call: unknown option decod. Did you mean decode/, () =>
      make.MultiHeadAttention({}).init(random.key(0), x, x, { decod: true } as never),
    );
    expectError(
      "option",
      /TransformerLayer.call: unknown option max_decode_length. Did you mean maxDecodeLength/,
      initLayer({}, x, { max_decode_length: 3 }),
    );
    expectError("option", /RelativePositionBiases.call: unknown option direction/, () =>
      make.RelativePositionBiases({}).init(random.key(0), 3, 3, { direction: 1 } as never),
    );
  });
});

describe("TransformerLayer", () => {
  test("options", () => {
    const make = (options: object) => () => new TransformerLayer({ ...layer, ...options });
    expectError(
      "option",
      /layerType must be TransformerLayerType.ENCODER or DECODER, got middle/,
      make({ layerType: "middle" }),
    );
    expectError("option", /hiddenSize must be a multiple of numAttentionHeads, got 9 and 2/, make({ hiddenSize: 9 }));
    expectError("option", /hiddenSize must be an integer of at least 1, got "8"/, make({ hiddenSize: "8" }));
    for (const name of ["hiddenDropoutDims", "intermediateDropoutDims"])
      for (const dims of [[3], [-4], [0.5]])
        expectError("option", new RegExp(`${name} must be an array of axes in \\[-3, 3\\)`), make({ [name]: dims }));
    expectError("option", /hiddenDropoutDims must be an array, got 1/, make({ hiddenDropoutDims: 1 }));
    for (const relativeEmbedding of [{}, () => x])
      expectError("option", /relativeEmbedding must be a module/, make({ relativeEmbedding }));
  });

  test("a padding type needs a mask", () => {
    const message = /^TransformerLayer: selfAttnMaskType "padding" needs an attentionMask, got none. Pass a mask/;
    expectError("option", message, initLayer({ selfAttnMaskType: "padding" }, x));
  });

  test("inputs", () => {
    expectError(
      "shape",
      /inputs must have shape \[batch, sequence, hiddenSize = 8\], got float32\[2,3,2,4\]/,
      initLayer({}, q),
    );
    expectError("shape", /hiddenSize = 8\], got float32\[2,3,6\]/, initLayer({}, normals([2, 3, 6])));
    expectError(
      "shape",
      /\[sequence, batch, hiddenSize = 8\]/,
      initLayer({ transposeBatchSequence: true }, normals([2, 3, 6])),
    );
    expectError(
      "dtype",
      /one dtype, got float32 and bfloat16/,
      initLayer(
        { layerType: TransformerLayerType.DECODER },
        x,
        x.astype("bfloat16"),
        null,
        maskOf([2, 3, 3], () => false),
      ),
    );
  });

  test("decoding an encoder layer whose results depend on later tokens", () => {
    for (const selfAttnMaskType of ["no_mask", "padding"])
      expectError(
        "option",
        /decode of an ENCODER layer needs a causal selfAttnMaskType: .*got (no_mask|padding). Use causal/,
        initLayer({ selfAttnMaskType }, x, { decode: true }),
      );
  });

  test("a decoder needs what it attends to, and its mask", () => {
    const options = { layerType: TransformerLayerType.DECODER };
    expectError("option", /a DECODER needs the encoder's output as second argument/, initLayer(options, x));
    expectError("option", /a DECODER needs an encoderDecoderMask, got none/, initLayer(options, x, x));
  });

  test("a relative embedding of one's own is used only while relative embedding is on", () => {
    const own = new RelativePositionBiases({ numBuckets: 4, maxDistance: 8, numAttentionHeads: 2, name: "mine" });
    const names = (options: object) => Object.keys(initLayer({ ...options, relativeEmbedding: own }, x)().params);
    expect(names({})).toContain("mine");
    expect(names({})).not.toContain("relpos_bias");
    expect(names({ enableRelativeEmbedding: false })).not.toContain("mine");
  });
});

describe("RelativePositionBiases", () => {
  const make = (options: object) =>
    new RelativePositionBiases({ numBuckets: 8, maxDistance: 16, numAttentionHeads: 2, ...options });
  test("options", () => {
    expectError(
      "option",
      /numAttentionHeads is required/,
      () => new RelativePositionBiases({ numBuckets: 8, maxDistance: 16 }),
    );
    expectError("option", /numBuckets must be a positive integer, got 0/, () => make({ numBuckets: 0 }));
    expectError("option", /maxDistance must exceed the 2 distances that numBuckets = 8 keeps exact, got 2/, () =>
      make({ maxDistance: 2 }).init(random.key(0), 4, 4),
    );
    expectError("option", /maxDistance must exceed the 4 distances/, () =>
      make({ maxDistance: 4 }).init(random.key(0), 4, 4, { bidirectional: false }),
    );
  });
});
