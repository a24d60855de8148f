/** Layers over a context-parallel axis: values and gradients are those of one device, with positions in any order. */
import { random, type Tensor } from "@te/tensor";
import { normals, onEachDevice, perturbed, type Row } from "@te/testkit";
import { describe, test } from "vitest";
import { MultiHeadAttention, TransformerLayer } from "../src/index.js";
import { CONTEXTS, inOrder, reordered } from "./context-meshes.js";
import { type Call, expectAlike } from "./context-setup.js";

const [BATCH, LENGTH, HIDDEN] = [2, 16, 32];
const row = (name: string): Row =>
  name === "y" ? "layer" : name === "x" ? "layerInput" : name.endsWith("kernel") ? "layerWeight" : "layerNormParameter";

const LAYERS = {
  MultiHeadAttention: (options: object) =>
    new MultiHeadAttention({ headDim: 8, numAttentionHeads: 4, useBias: true, ...options }),
  TransformerLayer: (options: object) =>
    new TransformerLayer({
      hiddenSize: HIDDEN,
      mlpHiddenSize: 64,
      numAttentionHeads: 4,
      hiddenDropout: 0,
      attentionDropout: 0,
      enableRelativeEmbedding: false,
      useBias: true,
      ...options,
    }),
} as const;

const apply = (layer: MultiHeadAttention | TransformerLayer, params: any, x: Tensor): Tensor => {
  if (layer instanceof MultiHeadAttention) return (layer.apply({ params }, x, x) as [Tensor, unknown])[0];
  return (layer.apply({ params }, x) as Tensor).astype("float32").sub(x.astype("float32"));
};

const SETTINGS: readonly [string, object][] = [
  ["ring", { contextParallelStrategy: "RING", enableRotaryPosEmb: true }],
  [
    "all-gather, named axis",
    { contextParallelStrategy: "ALL_GATHER", contextParallelAxis: "context", numGqaGroups: 2 },
  ],
  ["ring, balanced", { contextParallelStrategy: "RING", enableRotaryPosEmb: true, numGqaGroups: 2 }],
  ["all-gather, balanced, sequence first", { enableRotaryPosEmb: true, transposeBatchSequence: true }],
];

onEachDevice((device) => {
  describe.each(CONTEXTS.map((over) => [over.name, over] as const))("%s", (_, over) => {
    const chosen = over.name === "cp2" ? "MultiHeadAttention" : "TransformerLayer";
    describe(chosen, () => {
      const make = LAYERS[chosen];
      test.each(SETTINGS)("%s", (name, options) => {
        const balanced = name.includes("balanced");
        const sequenceFirst = "transposeBatchSequence" in options;
        const axis = sequenceFirst ? 0 : 1;
        for (const dtype of device === "reference" ? (["float32"] as const) : (["float32", "bfloat16"] as const)) {
          const layer = make({ ...options, dtype, contextParallelCausalLoadBalanced: balanced });
          const x = normals(sequenceFirst ? [LENGTH, BATCH, HIDDEN] : [BATCH, LENGTH, HIDDEN], { dtype });
          const init =
            layer instanceof MultiHeadAttention ? layer.init(random.key(0), x, x) : layer.init(random.key(0), x);
          const whole: Call = ({ params, x }) => apply(layer, params, x);
          const split: Call = ({ params, x }) =>
            balanced ? inOrder(apply(layer, params, reordered(x, axis)), axis) : whole({ params, x });
          expectAlike(over, { split, whole, row, dtype }, { params: perturbed((init as any).params, dtype), x });
        }
      });
    });
  });
});
