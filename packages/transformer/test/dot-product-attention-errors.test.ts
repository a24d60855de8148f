/** What DotProductAttention and SequenceDescriptor refuse, and how they say it. */
import type { Module } from "@te/layers";
import { type Tensor, tensor } from "@te/tensor";
import { expectError, normals } from "@te/testkit";
import { describe, expect, test, vi } from "vitest";
import {
  DotProductAttention,
  MASK_TYPES,
  MultiHeadAttention,
  SequenceDescriptor,
  TransformerLayer,
} from "../src/index.js";

const heads = { headDim: 4, numAttentionHeads: 2 };
const x = normals([2, 3, 8]);
const q = normals([2, 3, 2, 4]);
const attend =
  (options: object, ...args: unknown[]) =>
  () =>
    (new DotProductAttention({ ...heads, ...options }) as Module).apply({}, ...args);
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
    expectError("option", /windowSize must be two integers, got \[1.5, 0\]/, make({ windowSize: [1.5, 0] }));
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
    expectError("option", /needs a mask or a SequenceDescriptor, got none.*1 or true = hidden/, attend(thd, q, q, q));
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

  test("a bound of segments without packed sequences is said to mean nothing", () => {
    const write = vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    new DotProductAttention({ ...heads, qkvLayout: "bshd_bs2hd", maxSegmentsPerSeq: 5 });
    const said = write.mock.calls.map(([text]) => String(text));
    write.mockRestore();
    expect(said.join("")).toMatch(
      /maxSegmentsPerSeq is for packed sequences \(thd\) and means nothing with qkvLayout bshd_bs2hd/,
    );
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
    expect(make({ scoreMod: null, scoreModBprop: null })).not.toThrow();
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
    expectError("shape", /softmax_offset must have shape \[1,2,1,1\], got float32\[1,3,1,1\]/, () =>
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
      /attnBiasType "no_bias" takes no bias, got a bias\. Use pre_scale_bias/,
      attend({ attnBiasType: "no_bias" }, q, q, q, null, bias),
    );
    expectError(
      "option",
      /attnBiasType "pre_scale_bias" needs a bias, got none\. Pass one/,
      attend({ attnBiasType: "pre_scale_bias" }, q, q, q),
    );
  });

  test("padding needs a mask", () => {
    for (const attnMaskType of ["padding", "padding_causal", "padding_causal_bottom_right"]) {
      expectError(
        "option",
        /needs a mask or a SequenceDescriptor, got none.*1 or true = hidden/,
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
