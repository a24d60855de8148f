/** Options that say how activations are to be split: each asks it of the tensor that it names, and of no other. */
import { DenseGeneral, LayerNormDenseGeneral, LayerNormMLP, type Module } from "@te/layers";
import { globalShardGuard, logicalAxisRules, Mesh, MeshResource, SEQLEN_TP_AXES, withMesh } from "@te/sharding";
import { random, TeError } from "@te/tensor";
import { findBitDifference, normals, onEachDevice } from "@te/testkit";
import { MultiHeadAttention, TransformerLayer } from "@te/transformer";
import { describe, expect, test } from "vitest";

const x = normals([2, 3, 8]);
const make: Readonly<Record<string, (options: object) => Module>> = {
  DenseGeneral: (o) => new DenseGeneral({ features: 4, ...o }),
  LayerNormDenseGeneral: (o) => new LayerNormDenseGeneral({ features: 4, ...o }),
  LayerNormMLP: (o) => new LayerNormMLP({ intermediateDim: 16, ...o }),
};
const run = (module: Module, ...args: unknown[]): any => module.apply(module.init(random.key(0), ...args), ...args);

function errorOf(f: () => unknown): TeError | undefined {
  try {
    f();
  } catch (error) {
    if (TeError.is(error)) return error as TeError;
    throw error;
  }
  return undefined;
}

/** Option, and the shape of the tensor that it is for. */
const OPTIONS: readonly [string, string][] = [
  ["DenseGeneral.inputAxes", "[2,3,8]"],
  ["LayerNormDenseGeneral.layernormInputAxes", "[2,3,8]"],
  ["LayerNormDenseGeneral.dotInputAxes", "[2,3,8]"],
  ["LayerNormMLP.layernormInputAxes", "[2,3,8]"],
  ["LayerNormMLP.dot1InputAxes", "[2,3,8]"],
  ["LayerNormMLP.dot2InputAxes", "[2,3,16]"],
];

onEachDevice(() => {
  describe("axes of activations", () => {
    test.each(OPTIONS)("%s", (key, shape) => {
      const [of, option] = key.split(".") as [string, string];
      const call = (names: string[]) => () => run(make[of]!({ [option]: names }), x);
      const wrong = errorOf(call(["batch", "sequence"]));
      expect(wrong?.code).toBe("shape");
      expect(wrong?.message).toContain(`x: float32${shape}`);
      const names = ["batch", "sequence", "hidden"];
      names.forEach((name, i) => {
        const split = () => withMesh(new Mesh({ m: 2 }), () => logicalAxisRules([[name, "m"]], call(names)));
        const refused = errorOf(split);
        expect(refused?.code).toBe("unsupported");
        expect(refused?.message).toContain(
          `PartitionSpec(${[0, 1, 2].map((d) => (d === i ? '"m"' : "null")).join(", ")})`,
        );
      });
      const first = (result: any) => (Array.isArray(result) ? result[0] : result);
      expect(findBitDifference(first(call(names)()), first(run(make[of]!({}), x)))).toBeUndefined();
    });

    const attention: Readonly<Record<string, (options: object) => unknown>> = {
      MultiHeadAttention: (o) => run(new MultiHeadAttention({ headDim: 4, numAttentionHeads: 2, ...o }), x, x),
      TransformerLayer: (o) => {
        const layer = new TransformerLayer({ hiddenSize: 8, mlpHiddenSize: 16, numAttentionHeads: 2, ...o });
        return layer.init(random.key(0), x, { deterministic: true });
      },
    };
    test.each(Object.keys(attention))("%s.enableSequenceParallel", (of) => {
      // Only then does any tensor have the axis of sequence parallelism.
      const split = (enableSequenceParallel: boolean, transposeBatchSequence = false) =>
        errorOf(() =>
          withMesh(new Mesh({ m: 2 }), () =>
            globalShardGuard(new MeshResource(), () =>
              logicalAxisRules([[SEQLEN_TP_AXES, "m"]], () =>
                attention[of]!({ enableSequenceParallel, transposeBatchSequence }),
              ),
            ),
          ),
        );
      expect(split(false)).toBeUndefined();
      expect(split(true)?.message).toContain('PartitionSpec(null, "m", null)');
      expect(split(true, true)?.message).toContain('PartitionSpec("m", null, null)');
    });
  });

  describe("batch and sequence swapped", () => {
    test.each(Object.keys(make))("%s.transposeBatchSequence", (of) => {
      const both = [false, true].map((transposeBatchSequence) => run(make[of]!({ transposeBatchSequence }), x));
      const [a, b] = both.map((result) => (Array.isArray(result) ? result[0] : result));
      expect(findBitDifference(b, a)).toBeUndefined();
    });
  });
});
