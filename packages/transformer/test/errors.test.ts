/** What attention modules and the transformer layer refuse, and how they say it. */
import { random, type Tensor, tensor } from "@te/tensor";
import { describe, expect, test } from "vitest";
import {
  DotProductAttention,
  MASK_TYPES,
  MultiHeadAttention,
  RelativePositionBiases,
  SequenceDescriptor,
  TransformerLayer,
  TransformerLayerType,
} from "../src/index.js";
import { expectError, maskOf, normals } from "./helpers.js";

const heads = { headDim: 4, numAttentionHeads: 2 };
const x = normals([2, 3, 8]);
const q = normals([2, 3, 2, 4]);
const layer = { hiddenSize: 8, mlpHiddenSize: 16, numAttentionHeads: 2, hiddenDropout: 0, attentionDropout: 0 };
const attend =
  (options: object, ...args: unknown[]) =>
  () =>
    new DotProductAttention({ ...heads, ...options }).apply({}, ...args);
const initLayer =
  (options: object, ...args: unknown[]) =>
  () =>
    new TransformerLayer({ ...layer, ...options }).init(random.key(0), ...args);

describe("DotProductAttention", () => {
  test("option strings", () => {
    const make = (options: object) => () => new DotProductAttention({ ...heads, ...options });
    expectError(
      "option",
      /attnMaskType must be one of no_mask, padding, .*got "casual"/,
      make({ attnMaskType: "casual" }),
    );
    expectError("option", /attnMaskType must be/, make({ attnMaskType: "causal_causal" }));
    expectError(
      "option",
      /softmaxType must be vanilla, off_by_one or learnable, got "sink"/,
      make({ softmaxType: "sink" }),
    );
    expectError("option", /qkvLayout must be one of bs3hd, .*thd_thd_thd, got "sbhd"/, make({ qkvLayout: "sbhd" }));
    expectError("option", /windowSize must be two integers, got \[1.5,0\]/, make({ windowSize: [1.5, 0] }));
    expectError("option", /numAttentionHeads is required/, () => new DotProductAttention({ headDim: 4 }));
    expectError(
      "option",
      /attnBiasType must be no_bias, pre_scale_bias or post_scale_bias, got "alibi"/,
      attend({ attnBiasType: "alibi" }, q, q, q),
    );
  });

  test("spellings that are accepted", () => {
    for (const attnMaskType of [...MASK_TYPES, "causal_padding", "bottom_right_causal", "PADDING"]) {
      expect(() => new DotProductAttention({ ...heads, attnMaskType })).not.toThrow();
    }
    for (const softmaxType of ["off-by-one", "OFF_BY_ONE"])
      expect(() => new DotProductAttention({ ...heads, softmaxType })).not.toThrow();
  });

  test("heads, depth and rates", () => {
    const make = (options: object) => () => new DotProductAttention({ ...heads, ...options });
    expectError(
      "option",
      /numAttentionHeads must be an integer of at least 1, got 2.5/,
      make({ numAttentionHeads: 2.5 }),
    );
    expectError("option", /headDim must be an integer of at least 1, got 0/, make({ headDim: 0 }));
    expectError("option", /attentionDropout must be in \[0, 1\), got 1. Dropping every/, make({ attentionDropout: 1 }));
    expectError("option", /attentionDropout must be in \[0, 1\), got NaN/, make({ attentionDropout: Number.NaN }));
    expectError("option", /windowSize must be two integers, got \[1\]/, make({ windowSize: [1] }));
    expectError("option", /windowSize must be two integers, got 4/, make({ windowSize: 4 }));
    expectError("option", /float32Logits must be true or false, got yes/, make({ float32Logits: "yes" }));
    expectError("option", /maxSegmentsPerSeq must be an integer of at least 1, got 0/, make({ maxSegmentsPerSeq: 0 }));
  });

  test("packed sequences", () => {
    const [ids, pos] = [
      tensor(
        [
          [1, 1, 2],
          [1, 2, 0],
        ],
        { dtype: "int32" },
      ),
      tensor(
        [
          [0, 1, 0],
          [0, 0, 0],
        ],
        { dtype: "int32" },
      ),
    ];
    const segments = SequenceDescriptor.fromSegmentIdsAndPos(ids, pos);
    const thd = { qkvLayout: "thd_thd_thd", attnMaskType: "padding" };
    for (const attnMaskType of ["no_mask", "causal", "causal_bottom_right"]) {
      const make = () => new DotProductAttention({ ...heads, qkvLayout: "thd_thd_thd", attnMaskType });
      expectError(
        "option",
        /qkvLayout thd_thd_thd holds packed sequences and needs a padding type as attnMaskType/,
        make,
      );
    }
    const mask = normals([2, 1, 3, 3]).astype("uint8");
    expectError(
      "option",
      /thd_thd_thd needs a SequenceDescriptor of segments, got uint8\[2,1,3,3\]/,
      attend(thd, q, q, q, mask),
    );
    const lengths = SequenceDescriptor.fromSeqlens(tensor([1, 2], { dtype: "int32" }));
    expectError(
      "option",
      /needs a SequenceDescriptor of segments, got lengths. Use .*fromSeqlensAndOffsets/,
      attend(thd, q, q, q, lengths),
    );
    expectError("option", /needs a mask \(1 = masked out\) or a SequenceDescriptor, got none/, attend(thd, q, q, q));
    expectError(
      "option",
      /a mask array describes one segment, so that maxSegmentsPerSeq must be 1, got 2/,
      attend({ attnMaskType: "padding", maxSegmentsPerSeq: 2 }, q, q, q, mask),
    );
    expectError(
      "option",
      /qkvLayout t3hd needs as many groups as heads, got 1. Use bshd_bs2hd/,
      () => new DotProductAttention({ ...heads, qkvLayout: "t3hd", attnMaskType: "padding", numGqaGroups: 1 }),
    );
    expectError(
      "shape",
      /segmentsQ must have shape \[1,3\]/,
      attend(thd, normals([1, 3, 2, 4]), normals([1, 3, 2, 4]), normals([1, 3, 2, 4]), segments),
    );
    expect(() => attend(thd, q, q, q, segments)()).not.toThrow();
  });

  test("what is not supported", () => {
    const make = (options: object) => () => new DotProductAttention({ ...heads, ...options });
    const modify = (): null => null;
    expectError(
      "unsupported",
      /scoreMod must be null: .*got function modify. Pass a bias or a mask/,
      make({ scoreMod: modify }),
    );
    expectError("unsupported", /scoreModBprop must be null/, make({ scoreModBprop: modify }));
    expectError(
      "unsupported",
      /contextParallelAxis must be "": attention is not split along the sequence, got cp. Split the batch or the heads/,
      make({ contextParallelAxis: "cp" }),
    );
    expectError(
      "unsupported",
      /contextParallelCausalLoadBalanced must be false/,
      make({ contextParallelCausalLoadBalanced: true }),
    );
    for (const contextParallelStrategy of ["RING", "all_gather", "ALLGATHER"])
      expectError("unsupported", /contextParallelStrategy must be "DEFAULT"/, make({ contextParallelStrategy }));
    expectError(
      "option",
      /contextParallelStrategy must be one of DEFAULT, ALL_GATHER, ALLGATHER, RING, got tree/,
      make({ contextParallelStrategy: "tree" }),
    );
    expect(make({ contextParallelStrategy: "default", scoreMod: null, contextParallelAxis: "" })).not.toThrow();
    for (const Module of [MultiHeadAttention, TransformerLayer] as const) {
      const of = (options: object) => () =>
        new Module({ ...(Module === MultiHeadAttention && heads), ...options } as never);
      expectError("unsupported", /scoreMod must be null/, of({ scoreMod: modify }));
      expectError("unsupported", /scoreModBprop must be null/, of({ scoreModBprop: modify }));
    }
  });

  test("dropout without its stream; an offset of another shape", () => {
    expectError(
      "option",
      /random stream "noise" is missing/,
      attend({ attentionDropout: 0.1, dropoutRngName: "noise" }, q, q, q),
    );
    const module = new DotProductAttention({ ...heads, softmaxType: "learnable" });
    const params = { _UnfusedDotProductAttention_0: { softmax_offset: normals([1, 3, 1, 1]) } };
    expectError("shape", /parameter softmax_offset must have shape \[1,2,1,1\], got float32\[1,3,1,1\]/, () =>
      module.apply({ params } as never, q, q, q),
    );
  });

  test("groups", () => {
    for (const numGqaGroups of [3, 4, 0]) {
      expectError(
        "option",
        /numAttentionHeads must be a multiple of numGqaGroups, got 2 and/,
        () => new DotProductAttention({ ...heads, numGqaGroups }),
      );
    }
  });

  test("bias and bias type go together", () => {
    const bias = normals([1, 2, 3, 3]);
    expectError(
      "option",
      /attnBiasType "no_bias" does not take a bias/,
      attend({ attnBiasType: "no_bias" }, q, q, q, null, bias),
    );
    expectError(
      "option",
      /attnBiasType "pre_scale_bias" needs a bias/,
      attend({ attnBiasType: "pre_scale_bias" }, q, q, q),
    );
  });

  test("padding needs a mask", () => {
    for (const attnMaskType of ["padding", "padding_causal", "padding_causal_bottom_right"]) {
      expectError(
        "option",
        /needs a mask \(1 = masked out\) or a SequenceDescriptor/,
        attend({ attnMaskType }, q, q, q),
      );
    }
  });

  test("operands", () => {
    expectError("shape", /attention: q must have 4 axes/, attend({}, x, q, q));
    expectError("shape", /q and k must have the same depth/, attend({}, q, normals([2, 3, 2, 5]), q));
    expectError("shape", /k and v must have the same number of heads/, attend({}, q, q, normals([2, 3, 1, 4])));
    expectError(
      "shape",
      /heads of q must be a multiple of the heads of k, got 2 and 3/,
      attend({}, q, normals([2, 3, 3, 4]), normals([2, 3, 3, 4])),
    );
    expectError(
      "shape",
      /packing "kv" must have 5 axes, \[.., .., 2, heads, depth\]/,
      attend({ qkvLayout: "bshd_bs2hd" }, q, normals([2, 3, 3, 2, 4])),
    );
    expectError(
      "shape",
      /q and k must have the same batch size/,
      attend({}, q, normals([1, 3, 2, 4]), normals([1, 3, 2, 4])),
    );
    expectError("shape", /k and v must have the same length/, attend({}, q, q, normals([2, 5, 2, 4])));
    expectError("dtype", /k must have the dtype of q, float32/, attend({}, q, q.astype("bfloat16"), q));
    expectError("option", /packing "none" needs v/, attend({}, q, q));
    expectError("shape", /packing "qkv" must have 5 axes/, attend({ qkvLayout: "bs3hd" }, q));
    expectError(
      "shape",
      /mask must have shape/,
      attend({ attnMaskType: "padding" }, q, q, q, normals([2, 1, 3, 5]).astype("uint8")),
    );
  });
});

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

  test("of the call", () => {
    expectError(
      "option",
      /DotProductAttention.call: unknown option determinstic. Did you mean deterministic/,
      attend({}, q, q, q, { determinstic: true }),
    );
    expectError("option", /MultiHeadAttention.call: unknown option decod. Did you mean decode/, () =>
      make.MultiHeadAttention({}).init(random.key(0), x, x, { decod: true }),
    );
    expectError(
      "option",
      /TransformerLayer.call: unknown option max_decode_length. Did you mean maxDecodeLength/,
      initLayer({}, x, { max_decode_length: 3 }),
    );
    expectError("option", /RelativePositionBiases.call: unknown option direction/, () =>
      make.RelativePositionBiases({}).init(random.key(0), 3, 3, { direction: 1 }),
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
    for (const hiddenDropoutDims of [[3], [-4], [0.5], 1]) {
      expectError("option", /hiddenDropoutDims must be an array of axes in \[-3, 3\)/, make({ hiddenDropoutDims }));
    }
    // Options of submodules are checked when the layer is made, not when it first runs.
    expectError("option", /attnMaskType must be one of/, make({ selfAttnMaskType: "casual" }));
    expectError("option", /softmaxType must be/, make({ softmaxType: "sink" }));
    expectError(
      "option",
      /rotaryPosEmbGroupMethod must be consecutive or alternate/,
      make({ rotaryPosEmbGroupMethod: "pairs" }),
    );
    expectError(
      "option",
      /rotaryPosEmbWindows must be two positive numbers, .*got \[0, 10000\]/,
      make({ rotaryPosEmbWindows: [0, 10000] }),
    );
    expectError(
      "option",
      /numAttentionHeads must be a multiple of numGqaGroups, got 2 and 4/,
      make({ numGqaGroups: 4 }),
    );
    expectError("option", /lowRankAdaptationScope must be one of/, make({ lowRankAdaptationScope: "attention" }));
    expectError("option", /activations must be among/, make({ mlpActivations: ["swish2"] }));
    expectError("option", /layernormType must be/, make({ layernormType: "batchnorm" }));
    expectError("option", /rate must be in \[0, 1\]/, make({ hiddenDropout: 1.5 }));
    expectError("option", /rate must be in \[0, 1\]/, make({ dropPath: -0.5 }));
    expectError("option", /relativeEmbedding must be a module/, make({ relativeEmbedding: {} }));
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
    expectError("option", /attnMaskType "padding" needs a mask/, initLayer(options, x, x));
  });

  test("a relative embedding of one's own is used only while relative embedding is on", () => {
    const own = new RelativePositionBiases({ numBuckets: 4, maxDistance: 8, numAttentionHeads: 2, name: "mine" });
    const names = (options: object) => Object.keys(initLayer({ ...options, relativeEmbedding: own }, x)().params!);
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

describe("SequenceDescriptor", () => {
  const ids = tensor([[1, 1, 0]], { dtype: "int32" });
  const lengths = tensor([2], { dtype: "int32" });
  const { fromSeqlens, fromSeqlensAndOffsets, fromSegmentIdsAndPos } = SequenceDescriptor;
  test("operands", () => {
    expectError("option", /a tuple must hold two tensors, for queries and for keys, got 3/, () =>
      fromSeqlens([lengths, lengths, lengths] as never),
    );
    for (const wrong of [3, "lengths", { length: 2 }, null, undefined, [lengths, 2]])
      expectError("option", /SequenceDescriptor.fromSeqlens: seqlens must be a tensor or a pair of tensors/, () =>
        fromSeqlens(wrong as never),
      );
    expectError("dtype", /SequenceDescriptor.fromSeqlens: seqlens must be int32/, () => fromSeqlens(tensor([1.5])));
    expectError("shape", /seqlens must have shape \[batch\], got int32\[1,3\]/, () => fromSeqlens(ids));
    expectError("option", /segmentPos is required. Give each token its position/, () =>
      fromSegmentIdsAndPos(ids, undefined as never as Tensor),
    );
    expectError("shape", /segmentPos must have the shape of segmentIds, \[1,3\], got \[1,2\]/, () =>
      fromSegmentIdsAndPos(ids, tensor([[0, 1]], { dtype: "int32" })),
    );
    expectError("shape", /segmentIds must have 2 axes, batch first, got int32\[1\]/, () =>
      fromSegmentIdsAndPos(lengths, ids),
    );
    expectError("shape", /seqOffsets must have shape \[1,4\], one column more than seqlens, got int32\[1,3\]/, () =>
      fromSeqlensAndOffsets(ids, ids),
    );
  });

  test("lengths of another batch", () => {
    const run = attend({ attnMaskType: "padding" }, q, q, q, fromSeqlens(lengths));
    expectError("shape", /segmentsQ must have shape \[2,3\]/, run);
  });
});
