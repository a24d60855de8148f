/** Sequences packed into rows give what each of them gives alone, in every layout and under every mask that counts inside them. */
import { fc, test as property } from "@fast-check/vitest";
import { concat, jit, random, stack, type Tensor, tensor } from "@te/tensor";
import { expectClose, findBitDifference, maskOf, normals, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import {
  DotProductAttention,
  type DotProductAttentionOptions,
  SequenceDescriptor,
  TransformerLayer,
  type TransformerLayerOptions,
} from "../src/index.js";
import {
  attend,
  cut,
  DEPTH,
  descriptorOf,
  expectAlone,
  HEADS,
  int,
  layOut,
  offsetsOf,
  operands,
  type Packed,
} from "./packed-setup.js";

const masks: [string, Partial<DotProductAttentionOptions>, Partial<DotProductAttentionOptions>][] = [
  ["padding", { attnMaskType: "padding" }, { attnMaskType: "no_mask" }],
  ["padding_causal", { attnMaskType: "padding_causal" }, { attnMaskType: "causal" }],
  [
    "padding_causal_bottom_right",
    { attnMaskType: "padding_causal_bottom_right" },
    { attnMaskType: "causal_bottom_right" },
  ],
  [
    "padding_causal and a window",
    { attnMaskType: "padding_causal", windowSize: [1, 0] },
    { attnMaskType: "causal", windowSize: [1, 0] },
  ],
  [
    "padding_causal_bottom_right and a window",
    { attnMaskType: "padding_causal_bottom_right", windowSize: [2, 0] },
    { attnMaskType: "causal_bottom_right", windowSize: [2, 0] },
  ],
];

const example: Packed = {
  rows: [
    [
      [3, 5],
      [4, 4],
      [2, 6],
    ],
    [[5, 2]],
  ],
  sizes: [14, 19],
};

onEachDevice(() => {
  describe.each(masks)("F01 %s", (_, packedOptions, alone) => {
    test.each([
      ["segment ids and positions", descriptorOf],
      ["lengths and offsets", offsetsOf],
    ])("%s", (_, describe) => {
      const xs = operands(example.sizes, 2, 2, 6);
      const options = { ...packedOptions, qkvLayout: "thd_thd_thd", maxSegmentsPerSeq: 3 };
      expectAlone(example, xs, alone, attend(options, xs, describe(example)));
    });
  });

  test("thd_t2hd and t3hd hold what thd_thd_thd has apart", () => {
    const square: Packed = { rows: example.rows.map((row) => row.map(([n]) => [n, n] as const)), sizes: [14, 14] };
    const [q, k, v] = operands(square.sizes, 2, HEADS) as [Tensor, Tensor, Tensor];
    const sequences = descriptorOf(square);
    const run = (qkvLayout: string, q: Tensor, k: Tensor | null, v: Tensor | null): Tensor =>
      new DotProductAttention({
        headDim: DEPTH,
        numAttentionHeads: HEADS,
        attnMaskType: "padding_causal",
        qkvLayout,
      }).apply({}, q, k, v, sequences);
    const apart = run("thd_thd_thd", q, k, v);
    expectClose(run("thd_t2hd", q, stack([k, v], 2), null), apart, "attention");
    expectClose(run("T3HD", stack([q, k, v], 2), null, null), apart, "attention");
  });

  test("jit takes ids and positions, or lengths and offsets, as arguments", () => {
    const xs = operands(example.sizes, 2, 2);
    const options = { attnMaskType: "padding_causal_bottom_right", qkvLayout: "thd_thd_thd" };
    const eager = attend(options, xs, descriptorOf(example));
    const { segmentsQ, segmentsKv, positionsKv } = descriptorOf(example).operands({
      queries: example.sizes[0],
      keys: example.sizes[1],
      bottomRight: false,
    }) as Record<string, Tensor>;
    const positionsQ = int(example.rows.map((row) => layOut(row, 0, example.sizes[0]).positions));
    const compiled = jit((xs: Tensor[], ids: [Tensor, Tensor], positions: [Tensor, Tensor]) =>
      attend(options, xs, SequenceDescriptor.fromSegmentIdsAndPos(ids, positions)),
    )(xs as Tensor[], [segmentsQ!, segmentsKv!], [positionsQ, positionsKv!]);
    eager.forEach((t, i) => expect(findBitDifference(compiled[i]!, t), `${i}`).toBeUndefined());
  });

  test("sequence-first rows are packed in the same way", () => {
    const xs = operands(example.sizes, 2, 2);
    const options = { attnMaskType: "padding_causal_bottom_right", qkvLayout: "thd_thd_thd" };
    const swap = (t: Tensor): Tensor => t.transpose([1, 0, 2, 3]);
    const first = attend({ ...options, transposeBatchSequence: true }, xs.map(swap), descriptorOf(example));
    attend(options, xs, descriptorOf(example)).forEach((t, i) => {
      expectClose(swap(first[i]!), t, "attentionKeyValue");
    });
  });

  test("bottom-right of right-padded rows meets the last real key of each", () => {
    const xs = operands([6, 9], 2, 2);
    const lengths = [
      [4, 9],
      [6, 5],
    ] as const;
    const sequences = SequenceDescriptor.fromSeqlens(
      [0, 1].map((side) =>
        tensor(
          lengths.map((l) => l[side]!),
          { dtype: "int32" },
        ),
      ) as never,
    );
    const found = attend({ attnMaskType: "padding_causal_bottom_right" }, xs, sequences);
    const packed: Packed = { rows: lengths.map((l) => [l]), sizes: [6, 9] };
    expectAlone(packed, xs, { attnMaskType: "causal_bottom_right" }, found);
  });
});

onEachDevice(() => {
  test.each<[string, TransformerLayerOptions]>([
    ["relative bias", {}],
    ["RoPE, grouped heads", { enableRotaryPosEmb: true, enableRelativeEmbedding: false, numGqaGroups: 1 }],
    ["sequence-first, window", { transposeBatchSequence: true, windowSize: [2, 0] }],
  ])("a layer on packed sequences: %s", (_, options) => {
    const lengths = [5, 2, 4];
    const row = lengths.map((n) => [n, n] as const);
    const size = 15;
    const layer = new TransformerLayer({
      hiddenSize: 16,
      mlpHiddenSize: 32,
      numAttentionHeads: 2,
      selfAttnMaskType: "padding_causal",
      ...options,
    });
    const order = (t: Tensor): Tensor => (options.transposeBatchSequence ? t.transpose([1, 0, 2]) : t);
    const x = normals([1, size, 16]);
    const call = (variables: never, x: Tensor, sequences: Tensor | SequenceDescriptor): Tensor =>
      order(layer.apply(variables, order(x), null, sequences, { deterministic: true }));
    const sequences = descriptorOf({ rows: [row], sizes: [size, size] });
    const variables = layer.init(random.key(0), order(x), null, sequences, { deterministic: true }) as never;
    const y = call(variables, x, sequences);
    const { starts } = layOut(row, 0, size);
    lengths.forEach((n, i) => {
      const alone = call(
        variables,
        cut(x, 0, starts[i]!, n),
        maskOf([1, n, n], () => false),
      );
      expectClose(cut(y, 0, starts[i]!, n), alone, "layer");
    });
  });
});

test("the lengths and offsets of the documentation", () => {
  const descriptor = SequenceDescriptor.fromSeqlensAndOffsets(
    int([
      [2, 1, 1, -1],
      [2, 1, -1, -1],
    ]),
    int([
      [0, 2, 3, 4, -1],
      [0, 2, 3, -1, -1],
    ]),
  );
  const { segmentsQ, positionsKv } = descriptor.operands({ queries: 4, keys: 4, bottomRight: false });
  expect(segmentsQ!.dataSync()).toEqual(Int32Array.from([1, 1, 2, 3, 1, 1, 2, 0]));
  expect(positionsKv!.dataSync()).toEqual(Int32Array.from([0, 1, 0, 0, 0, 1, 0, 0]));
});

const anyRow = fc.array(fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 6 })), {
  minLength: 1,
  maxLength: 4,
});

property.prop([fc.array(anyRow, { minLength: 1, maxLength: 3 }), fc.constantFrom(...masks), fc.constantFrom(1, 2, 4)], {
  numRuns: 12,
  seed: Number(process.env.TE_TEST_SEED ?? 1),
})("any packing equals one sequence at a time", (rows, [, packedOptions, alone], groups) => {
  const size = (side: 0 | 1): number => Math.max(...rows.map((row) => row.reduce((n, l) => n + l[side] + 1, 0)));
  const packed: Packed = { rows, sizes: [size(0), size(1)] };
  const xs = operands(packed.sizes, rows.length, groups);
  const options = { ...packedOptions, qkvLayout: "thd_thd_thd" };
  const found = attend(options, xs, descriptorOf(packed));
  expectAlone(packed, xs, alone, found);
  attend(options, xs, offsetsOf(packed)).forEach((t, i) => expect(findBitDifference(t, found[i]!)).toBeUndefined());
});

test("rows of a batch are independent of each other's segments", () => {
  const xs = operands(example.sizes, 2, 2);
  const options = { attnMaskType: "padding_causal", qkvLayout: "thd_thd_thd" };
  const [out] = attend(options, xs, descriptorOf(example));
  const swapped = xs.map((t) => concat([t.at([1, 2]), t.at([0, 1])], 0));
  const [again] = attend(options, swapped, descriptorOf({ ...example, rows: [...example.rows].reverse() }));
  expect(findBitDifference(concat([again.at([1, 2]), again.at([0, 1])], 0), out)).toBeUndefined();
});
