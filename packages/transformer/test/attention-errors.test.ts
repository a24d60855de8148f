/** What the ops `attention` and `rope` refuse, and what attention does where parameters are left out. */
import { type DType, grad, TeError, type Tensor, tensor, zeros } from "@te/tensor";
import { describe, expect, test } from "vitest";
import { attention, attentionOp } from "../src/ops/attention.js";
import type { AttentionOperands, AttentionParams } from "../src/ops/attention-problem.js";
import { rope } from "../src/ops/rope.js";

const t = (shape: readonly number[], dtype: DType = "float32"): Tensor => zeros(shape, { dtype });
const q = t([2, 5, 4, 8]);
const k = t([2, 7, 2, 8]);
const v = t([2, 7, 2, 6]);

type Call = [
  rule: string,
  code: string,
  message: RegExp,
  operands: Partial<AttentionOperands<Tensor>>,
  params?: object,
];

function thrown(body: () => unknown): TeError {
  try {
    body();
  } catch (error) {
    if (TeError.is(error)) return error;
    throw error;
  }
  return expect.fail("did not throw");
}

describe("attention refuses", () => {
  const calls: Call[] = [
    ["k of another rank", "shape", /k must have 4 axes.*float32\[2,7,16\]/, { k: t([2, 7, 16]) }],
    [
      "another batch size",
      "shape",
      /q and k must have the same batch size/,
      { k: t([3, 7, 2, 8]), v: t([3, 7, 2, 6]) },
    ],
    ["k and v of different lengths", "shape", /k and v must have the same length/, { v: t([2, 6, 2, 6]) }],
    ["k and v of different heads", "shape", /k and v must have the same number of heads/, { v: t([2, 7, 1, 6]) }],
    ["another depth", "shape", /q and k must have the same depth/, { k: t([2, 7, 2, 9]) }],
    [
      "heads that do not group",
      "shape",
      /multiple of the heads of k, got 4 and 3/,
      { k: t([2, 7, 3, 8]), v: t([2, 7, 3, 6]) },
    ],
    ["another dtype", "dtype", /k must have the dtype of q, float32/, { k: t([2, 7, 2, 8], "bfloat16") }],
    ["integers", "dtype", /q must be float32 or bfloat16 or float16/, { q: t([2, 5, 4, 8], "int32") }],
    ["a missing k", "option", /packing "none" needs k/, { k: undefined }],
    ["k beside packed qkv", "option", /packing "qkv" takes no k/, { q: t([2, 5, 3, 4, 8]) }, { packing: "qkv" }],
    [
      "a packed axis of another length",
      "shape",
      /\[\.\., \.\., 2, heads, depth\]/,
      { k: t([2, 7, 3, 2, 8]), v: undefined },
      { packing: "kv" },
    ],
    ["an unknown layout", "option", /layout must be one of bshd, sbhd, got thd/, {}, { layout: "thd" }],
    ["an unknown softmax type", "option", /softmaxType must be one of/, {}, { softmaxType: "off-by-one" }],
    ["a window of half a key", "option", /windowLeft must be an integer/, {}, { windowLeft: 0.5 }],
    ["dropout of everything", "option", /dropout must be in \[0, 1\)/, {}, { dropout: 1 }],
    ["dropout without a key", "option", /dropout needs a key/, {}, { dropout: 0.1 }],
    ["a key of another size", "shape", /key must have shape \[2\]/, { key: t([4], "uint32") }, { dropout: 0.1 }],
    ["a bias without a type", "option", /biasType "none" takes no bias/, { bias: t([1, 4, 5, 7]) }],
    ["a type without a bias", "option", /biasType "pre_scale" needs a bias/, {}, { biasType: "pre_scale" }],
    [
      "a bias of another shape",
      "shape",
      /bias must have shape \[1 or 2, 1 or 4, 5, 7\]/,
      { bias: t([4, 5, 7]) },
      { biasType: "post_scale" },
    ],
    [
      "a mask of floats",
      "dtype",
      /mask must be bool or uint8, 1 or true = hidden, got float32\[2,1,5,7\]\. An additive mask .* is mask\.lt\(0\) here/,
      { mask: t([2, 1, 5, 7]) },
    ],
    [
      "a mask of integers",
      "dtype",
      /1 or true = hidden, got int32.*mask\.eq\(0\) where 1 means visible.*astype\("bool"\) where 1 means hidden/,
      { mask: t([2, 1, 5, 7], "int32") },
    ],
    [
      "a mask of keys",
      "shape",
      /got uint8\[2,7\]\. Pass mask\.reshape\(\[2, 1, 1, 7\]\) where 1 means hidden, mask\.eq\(0\) so reshaped where 1 means vis/,
      { mask: t([2, 7], "uint8") },
    ],
    [
      "a mask of another shape",
      "shape",
      /mask must have shape \[1 or 2, 1 or 4, 1 or 5, 7\]/,
      { mask: t([2, 1, 7, 5], "bool") },
    ],
    ["segments of queries alone", "option", /segmentsQ and segmentsKv go together/, { segmentsQ: t([2, 5], "int32") }],
    ["positions of another shape", "shape", /positionsQ must have shape \[2,5\]/, { positionsQ: t([5], "int32") }],
    [
      "positions from the bottom right",
      "option",
      /bottomRight counts in indices/,
      { positionsQ: t([2, 5], "int32") },
      { bottomRight: true },
    ],
    [
      "a learnable sink that is missing",
      "option",
      /softmaxType "learnable" needs a sink/,
      {},
      { softmaxType: "learnable" },
    ],
    ["a sink that is not wanted", "option", /softmaxType "vanilla" takes no sink/, { sink: t([4]) }],
    [
      "a sink of another dtype",
      "dtype",
      /sink must be float32/,
      { sink: t([4], "bfloat16") },
      { softmaxType: "learnable" },
    ],
    [
      "a sink of another size",
      "shape",
      /sink must have shape \[4\]/,
      { sink: t([1, 4, 1, 1]) },
      { softmaxType: "learnable" },
    ],
    ["an infinite scale", "option", /scale must be finite/, {}, { scale: Number.POSITIVE_INFINITY }],
  ];
  test.each(calls)("%s", (_, code, message, operands, params = {}) => {
    const error = thrown(() => attentionOp({ q, k, v, ...operands }, params as Partial<AttentionParams>));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });
});

describe("attention", () => {
  test("scales by 1 / sqrt(d) unless told otherwise", async () => {
    const x = tensor(
      Float32Array.from({ length: 32 }, (_, i) => Math.sin(i)),
      { shape: [1, 4, 1, 8] },
    );
    const by = (scale?: number): Promise<unknown> => attention({ q: x, k: x, v: x }, { scale }).toArray();
    expect(await by()).toEqual(await by(1 / Math.sqrt(8)));
    expect(await by()).not.toEqual(await by(1));
  });

  test("packs: shapes of the outputs and gradients", () => {
    const qkv = t([2, 5, 3, 4, 8]);
    const kv = t([2, 7, 2, 2, 8]);
    expect(attention({ q: qkv }, { packing: "qkv" }).shape).toEqual([2, 5, 4, 8]);
    expect(attention({ q, k: kv }, { packing: "kv" }).shape).toEqual([2, 5, 4, 8]);
    const packed = (x: Tensor): Tensor => attention({ q: x }, { packing: "qkv" }).sum();
    expect((grad(packed)(qkv) as Tensor).shape).toEqual(qkv.shape);
  });
});

describe("rope refuses", () => {
  const x = t([2, 5, 4, 8]);
  test.each([
    ["odd depth", "shape", () => rope(t([2, 5, 4, 7]))],
    ["three axes", "shape", () => rope(t([2, 5, 8]))],
    ["integers", "dtype", () => rope(t([2, 5, 4, 8], "int32"))],
    ["an unknown method", "option", () => rope(x, { method: "spiral" as never })],
    ["a window of 0", "option", () => rope(x, { windowMin: 0 })],
    ["positions of another length", "shape", () => rope(x, { positions: t([4], "int32") })],
    ["positions of another batch", "shape", () => rope(x, { positions: t([3, 5], "int32") })],
    ["what is no tensor", "option", () => rope(undefined as never)],
    ["options that are none", "option", () => rope(x, null as never)],
    ["an unknown option", "option", () => rope(x, { position: t([5], "int32") } as never)],
    ["float positions", "dtype", () => rope(x, { positions: t([5]) })],
  ])("%s", (_, code, body) => {
    expect(thrown(body).code).toBe(code);
  });
});
