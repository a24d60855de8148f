/** Options that say how activations are to be split: each asks it of the tensor that it names, and of no other. */
import { DenseGeneral, LayerNormDenseGeneral, LayerNormMLP, type Module } from "@te/layers";
import { globalShardGuard, logicalAxisRules, Mesh, MeshResource, SEQLEN_TP_AXES, withMesh } from "@te/sharding";
import { makeProgram, random, TeError } from "@te/tensor";
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

/** What the program of f asks to be split. */
function constraints(f: () => unknown): string[] {
  const { nodes, values } = makeProgram(f)();
  return nodes.flatMap(({ op, outputs, params }) => {
    const { dtype, shape } = values[outputs[0]!]!;
    const dims = params.dims as readonly number[];
    return op.name === "sharding_constraint" && dims.length > 0 ? [`${dtype}[${shape}] split at ${dims}`] : [];
  });
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
      names.forEach((name, dim) => {
        const split = withMesh(new Mesh({ m: 2 }), () =>
          logicalAxisRules([[name, "m"]], () => constraints(call(names))),
        );
        expect(split).toEqual([`float32${shape} split at ${dim}`]);
      });
      const first = (result: any) => (Array.isArray(result) ? result[0] : result);
      expect(findBitDifference(first(call(names)()), first(run(make[of]!({}), x)))).toBeUndefined();
    });

    const attention: Readonly<Record<string, (options: object) => unknown>> = {
      MultiHeadAttention: (o) => run(new MultiHeadAttention({ headDim: 4, numAttentionHeads: 2, ...o }), x, x),
      TransformerLayer: (o) => {
        const layer = new TransformerLayer({ hiddenSize: 8, mlpHiddenSize: 16, numAttentionHeads: 2, ...o });
        return layer.apply(layer.init(random.key(0), x, { deterministic: true }), x, { deterministic: true });
      },
    };
    test.each(Object.keys(attention))("%s.enableSequenceParallel", (of) => {
      // Only then does any tensor have the axis of sequence parallelism.
      const split = (enableSequenceParallel: boolean, transposeBatchSequence = false) =>
        withMesh(new Mesh({ m: 2 }), () =>
          globalShardGuard(new MeshResource(), () =>
            logicalAxisRules([[SEQLEN_TP_AXES, "m"]], () =>
              constraints(() => attention[of]!({ enableSequenceParallel, transposeBatchSequence })),
            ),
          ),
        );
      expect(split(false)).toEqual([]);
      expect(new Set(split(true))).toEqual(new Set(["float32[2,3,8] split at 1"]));
      expect(new Set(split(true, true))).toEqual(new Set(["float32[2,3,8] split at 0"]));
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
