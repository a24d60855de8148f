/** What attention over a context-parallel axis does not have, and options that are none. */
import { withMesh } from "@te/sharding";
import { type Tensor, tensor } from "@te/tensor";
import { expectError, normals } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { DotProductAttention, MultiHeadAttention, SequenceDescriptor, TransformerLayer } from "../src/index.js";
import { CONTEXTS } from "./context-meshes.js";
import { under } from "./mesh-setup.js";

const cp2 = CONTEXTS[0]!;
const heads = { headDim: 8, numAttentionHeads: 2 };
const x = (length = 8, ...rest: number[]): Tensor => normals([2, length, ...(rest.length ? rest : [2, 8])]);
const ids = tensor([new Array(8).fill(1), new Array(8).fill(1)], { dtype: "int32" });
const descriptor = SequenceDescriptor.fromSegmentIdsAndPos(ids, ids);
const mask = normals([2, 1, 8, 8]).gt(0).astype("uint8");

test.each([DotProductAttention, MultiHeadAttention, TransformerLayer])("options of %o", (Module) => {
  const make = (options: object) => () =>
    new Module({ ...(Module !== TransformerLayer && heads), ...options } as never);
  expectError(
    "option",
    /contextParallelStrategy must be one of DEFAULT, ALL_GATHER, ALLGATHER, RING, got "tree"/,
    make({ contextParallelStrategy: "tree" }),
  );
  expectError(
    "option",
    /contextParallelCausalLoadBalanced must be true or false/,
    make({ contextParallelCausalLoadBalanced: 1 }),
  );
  expectError("option", /contextParallelAxis/, make({ contextParallelAxis: 1 }));
  for (const contextParallelStrategy of ["default", "Ring", "all_gather", "ALLGATHER"])
    expect(make({ contextParallelStrategy, contextParallelAxis: "cp" })).not.toThrow();
});

describe("over the axis", () => {
  const attend = (options: object, ...given: any[]) => {
    const [q, ...rest] = given.length ? given : [x(), x(), x()];
    return () =>
      under(cp2, () => (new DotProductAttention({ ...heads, ...options }).apply as any)({}, q, ...rest) as Tensor);
  };
  const qkv = [x(), x(), x()];

  test.each([
    ["packed q, k and v", { qkvLayout: "bs3hd" }, [x(8, 3, 2, 8)], /keys must be apart from queries/],
    ["a bias", {}, [...qkv, null, normals([1, 2, 8, 8])], /attention takes no bias/],
    ["dropout", { attentionDropout: 0.1 }, qkv, /attentionDropout must be 0, got 0.1/],
    ["a sink", { softmaxType: "off_by_one" }, qkv, /softmaxType must be "vanilla", got off_by_one/],
    ["a window", { windowSize: [2, 0] }, qkv, /a window needs packed sequences/],
    ["padding", { attnMaskType: "padding" }, [...qkv, mask], /attnMaskType must be no_mask or causal, got padding/],
    [
      "bottom right",
      { attnMaskType: "causal_bottom_right" },
      qkv,
      /must be no_mask or causal, got causal_bottom_right/,
    ],
    [
      "packed sequences that are not causal",
      { attnMaskType: "padding", qkvLayout: "thd_thd_thd" },
      [...qkv, descriptor],
      /attnMaskType must be padding_causal with packed sequences, got padding/,
    ],
    ["several segments of what is not packed", { maxSegmentsPerSeq: 2 }, qkv, /maxSegmentsPerSeq must be 1/],
  ] as const)("%s", (_, options, given, message) => {
    expectError("unsupported", message, attend(options, ...given));
    expectError("unsupported", /over the context-parallel axis context /, attend(options, ...given));
    // On one device it is attention like any other.
    if ("attentionDropout" in options) return;
    expect(() => (new DotProductAttention({ ...heads, ...options }).apply as any)({}, ...given)).not.toThrow();
  });

  test("lengths and offsets do not tell where reordered tokens are", () => {
    const [lengths, offsets] = [
      [[8], [8]],
      [
        [0, 8],
        [0, 8],
      ],
    ].map((rows) => tensor(rows, { dtype: "int32" }));
    const given = [...qkv, SequenceDescriptor.fromSeqlensAndOffsets(lengths!, offsets!)];
    const thd = { attnMaskType: "padding_causal", qkvLayout: "thd_thd_thd" };
    for (const how of [{ contextParallelStrategy: "RING" }, { contextParallelCausalLoadBalanced: true }])
      expectError(
        "unsupported",
        /a descriptor must tell the place of each token, got lengths and offsets. Use SequenceDescriptor.fromSegmentIdsAndPos/,
        attend({ ...thd, ...how }, ...given),
      );
    expect(attend(thd, ...given)).not.toThrow();
  });

  test("lengths that the devices do not divide", () => {
    const odd = [x(7), x(7), x(7)];
    expectError("shape", /must be a multiple of 2: the devices, got 7. Pad it to 6 or 8/, attend({}, ...odd));
    expectError("shape", /must be a multiple of 2/, attend({ attnMaskType: "no_mask" }, x(), x(7), x(7)));
    const balanced = { contextParallelCausalLoadBalanced: true };
    expectError(
      "shape",
      /multiple of 4: twice the devices, .*, got 6. Pad it to 4 or 8/,
      attend(balanced, x(6), x(6), x(6)),
    );
  });

  test("an axis that the mesh does not have", () => {
    expectError("option", /ring is not an axis of Mesh\(context=2\)/, attend({ contextParallelAxis: "ring" }));
  });

  test("a mesh without a resource splits no sequence", () => {
    const layer = new DotProductAttention({ ...heads, attentionDropout: 0.5 });
    expect(() =>
      withMesh(cp2.mesh, () => layer.apply({}, x(), x(), x(), null, null, { deterministic: true })),
    ).not.toThrow();
  });
});
