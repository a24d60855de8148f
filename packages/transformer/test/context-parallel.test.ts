/** Attention over a context-parallel axis: values and gradients are those of one device, in every order and strategy. */
import { meshAxisSize } from "@te/sharding";
import { type Tensor, tensor } from "@te/tensor";
import { normals, onEachDevice } from "@te/testkit";
import { describe, test } from "vitest";
import {
  DotProductAttention,
  type DotProductAttentionOptions,
  inverseReorderCausalLoadBalancing,
  ReorderStrategy,
  reorderCausalLoadBalancing,
  SequenceDescriptor,
} from "../src/index.js";
import { CONTEXTS, inOrder, reordered } from "./context-meshes.js";
import { type Call, expectAlike } from "./context-setup.js";

const [BATCH, LENGTH, HEADS, DEPTH] = [2, 16, 4, 8];
const row = (name: string) => (name === "y" || name === "q" ? "attention" : "attentionKeyValue");

const STRATEGIES = ["ALL_GATHER", "RING"] as const;

interface Setting extends Partial<DotProductAttentionOptions> {
  readonly groups?: number;
  readonly keys?: number;
  readonly dtype?: "float32" | "bfloat16";
}

const SETTINGS: Readonly<Record<string, Setting>> = {
  causal: { groups: 2 },
  "no mask, more keys": { attnMaskType: "no_mask", keys: 24 },
  "one group": { groups: 1 },
  "packed kv, sequence first": { qkvLayout: "bshd_bs2hd", transposeBatchSequence: true, groups: 2 },
  "balanced, causal": { contextParallelCausalLoadBalanced: true, groups: 2 },
  "balanced, packed kv, sequence first": {
    contextParallelCausalLoadBalanced: true,
    qkvLayout: "bshd_bs2hd",
    transposeBatchSequence: true,
  },
  "balanced, no mask": { contextParallelCausalLoadBalanced: true, attnMaskType: "no_mask" },
};

/** Attention as it is, and what a user of the mesh writes. */
function attend({ groups = HEADS, keys: _, dtype: __, ...own }: Setting, strategy: string) {
  const options = { headDim: DEPTH, numAttentionHeads: HEADS, numGqaGroups: groups, ...own };
  const axis = own.transposeBatchSequence ? 0 : 1;
  const call = (all: object, { q, k, v }: { q: Tensor; k: Tensor; v?: Tensor }): Tensor =>
    new DotProductAttention({ ...options, ...all }).apply({}, q, k, v ?? null) as Tensor;
  const split: Call = ({ q, k, v }) => {
    const all = { contextParallelStrategy: strategy };
    if (!own.contextParallelCausalLoadBalanced) return call(all, { q, k, v });
    const to = (x: Tensor) => reordered(x, axis);
    return inOrder(call(all, { q: to(q), k: to(k), v: v && to(v) }), axis);
  };
  return { split, whole: ((x) => call({}, x)) as Call };
}

function inputsOf({ groups = HEADS, keys = LENGTH, dtype = "float32", qkvLayout, transposeBatchSequence }: Setting) {
  const of = (seed: string, length: number, ...rest: number[]) =>
    normals(transposeBatchSequence ? [length, BATCH, ...rest] : [BATCH, length, ...rest], { seed, dtype });
  const q = of("q", LENGTH, HEADS, DEPTH);
  if (qkvLayout === "bshd_bs2hd") return { q, k: of("k", keys, 2, groups, DEPTH) };
  return { q, k: of("k", keys, groups, DEPTH), v: of("v", keys, groups, DEPTH) };
}

onEachDevice((device) => {
  describe.each(CONTEXTS.map((over) => [over.name, over] as const))("%s", (_, over) => {
    describe.each(STRATEGIES)("%s", (strategy) => {
      test.each(Object.entries(SETTINGS))("%s", (_, setting) => {
        const { split, whole } = attend(setting, strategy);
        expectAlike(over, { split, whole, row }, inputsOf(setting));
        if (device === "reference") return;
        const narrow = { ...setting, dtype: "bfloat16" } as const;
        expectAlike(over, { split, whole, row }, inputsOf(narrow));
      });

      test.each([
        ["in order", null],
        ["stripes of 1", 1],
        ["stripes of 2", 2],
      ] as const)("packed sequences, %s", (_, stripe) => {
        // Segments 1 to 3 with padding between and behind, of other lengths in each row.
        const rows = [
          [1, 1, 1, 1, 1, 0, 2, 2, 2, 2, 2, 2, 3, 3, 0, 0],
          [1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3],
        ];
        const ids = tensor(rows, { dtype: "int32" });
        const positions = tensor(
          rows.map((row) => row.map((id, i) => (id === 0 ? 0 : i - row.indexOf(id)))),
          { dtype: "int32" },
        );
        for (const windowSize of [null, [3, 0]] as const) {
          const options = {
            headDim: DEPTH,
            numAttentionHeads: HEADS,
            numGqaGroups: 2,
            attnMaskType: "padding_causal",
            qkvLayout: "thd_thd_thd",
            maxSegmentsPerSeq: 3,
            windowSize,
          };
          const call = (all: object, { q, k, v }: any, ids: Tensor, positions: Tensor): Tensor => {
            const descriptor = SequenceDescriptor.fromSegmentIdsAndPos(ids, positions);
            return new DotProductAttention({ ...options, ...all }).apply({}, q, k, v, descriptor) as Tensor;
          };
          const whole: Call = (x) => call({}, x, ids, positions);
          const split: Call = (x) => {
            const all = { contextParallelStrategy: strategy, contextParallelCausalLoadBalanced: stripe !== null };
            if (stripe === null) return call(all, x, ids, positions);
            const how = [ReorderStrategy.Striped, meshAxisSize("context"), 1, stripe] as const;
            const [q, k, v, i, p] = [x.q, x.k, x.v, ids, positions].map((t) => reorderCausalLoadBalancing(t, ...how));
            return inverseReorderCausalLoadBalancing(call(all, { q, k, v }, i!, p!), ...how);
          };
          expectAlike(over, { split, whole, row }, inputsOf({ groups: 2 }));
        }
      });
    });
  });
});
