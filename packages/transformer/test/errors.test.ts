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
import { expectError, normals } from "./helpers.js";

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
  });

  test("inputs", () => {
    expectError(
      "shape",
      /inputs must have shape \[batch, sequence, hiddenSize = 8\], got float32\[2,3,2,4\]/,
      initLayer({}, q),
    );
    expectError("shape", /hiddenSize = 8\], got float32\[2,3,6\]/, initLayer({}, normals([2, 3, 6])));
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
  test("operands", () => {
    expectError("option", /a tuple must hold two tensors, for queries and for keys, got 3/, () =>
      SequenceDescriptor.fromSeqlens([ids, ids, ids] as never),
    );
    expectError("option", /segmentPos is required/, () =>
      SequenceDescriptor.fromSegmentIdsAndPos(ids, undefined as never as Tensor),
    );
    expectError("shape", /segmentPos must have the shape of segmentIds, \[1,3\], got \[1,2\]/, () =>
      SequenceDescriptor.fromSegmentIdsAndPos(ids, tensor([[0, 1]], { dtype: "int32" })),
    );
  });
});
