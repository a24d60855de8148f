/** Norms and activations that quantize their results: which fused ops a train step has, and that these change no bit. */
import { DelayedScaling, Float8CurrentScaling, fp8Autocast, type Recipe } from "@te/fp8";
import { LayerNormDenseGeneral, LayerNormMLP, type Module, type Variables } from "@te/layers";
import { currentBackend, type DType, makeProgram, random, type Tensor, tree, valueAndGrad } from "@te/tensor";
import { type Pass, type Program, passes, runPasses } from "@te/tensor/backend";
import { normals, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { TransformerLayer } from "../src/index.js";

type Counts = Record<string, number>;

const OURS = ["constrain less", "join quantize", "narrow gradients"];
const without = (): Pass[] => passes().filter(({ name }) => !OURS.includes(name));

const layer = {
  hiddenSize: 32,
  mlpHiddenSize: 64,
  numAttentionHeads: 2,
  hiddenDropout: 0,
  attentionDropout: 0,
  intermediateDropout: 0,
  enableRelativeEmbedding: false,
};
const MODULES: Record<string, [(dtype: DType) => Module, Counts, norms: number]> = {
  LayerNormDenseGeneral: [(dtype) => new LayerNormDenseGeneral({ features: 48, dtype }), { layer_norm_quantize: 1 }, 1],
  "LayerNormDenseGeneral, rmsnorm": [
    (dtype) => new LayerNormDenseGeneral({ features: 48, layernormType: "rmsnorm", dtype }),
    { rms_norm_quantize: 1 },
    1,
  ],
  LayerNormMLP: [
    (dtype) => new LayerNormMLP({ intermediateDim: 48, activations: ["silu", "linear"], useBias: true, dtype }),
    { layer_norm_quantize: 1, gated_activation_quantize: 1 },
    1,
  ],
  TransformerLayer: [
    (dtype) => new TransformerLayer({ ...layer, dtype }),
    { layer_norm_quantize: 2, gated_activation_quantize: 1 },
    2,
  ],
};

interface Step {
  readonly program: Program;
  /** Of the program, in order. */
  readonly inputs: readonly Tensor[];
}

/** A train step: the loss and its gradients by the variables and the input, after a step that moved the scales from 1. */
function stepOf(module: Module, recipe: Recipe, dtype: DType): Step {
  return fp8Autocast({ enabled: true, fp8Recipe: recipe }, () => {
    const x = normals([2, 8, 32], { dtype, std: 2 });
    const loss = (variables: Variables, x: Tensor): Tensor => {
      const y = [module.apply(variables, x)].flat()[0] as Tensor;
      const weights = normals(y.shape, { seed: "dy" });
      return y.astype("float32").mul(weights).sum();
    };
    const step = valueAndGrad(loss, { argnums: [0, 1] });
    const { params, fp8_metas } = module.init(random.key(0), x) as Variables;
    const metas = fp8_metas && step({ params, fp8_metas }, x)[1][0].fp8_metas;
    const variables = { params, ...(metas && { fp8_metas: metas }) } as Variables;
    const program = makeProgram(step)(variables, x);
    const inputs = tree.leaves([variables, x]) as Tensor[];
    return { program, inputs: [...inputs, ...program.constants.map(({ tensor }) => tensor)] };
  });
}

const bytesOf = (t: Tensor): Uint8Array => {
  const { buffer, byteOffset, byteLength } = t.dataSync();
  return new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength).slice();
};

/** The bytes of the results on the device in force. */
function run({ program, inputs }: Step, which: readonly Pass[]): Uint8Array[] {
  const backend = currentBackend();
  const supports = (node: Parameters<typeof backend.supports>[0]) => backend.supports(node);
  const ready = runPasses(runPasses(program, supports, which), supports, backend.passes ?? []);
  const buffers = inputs.map((t) => backend.fromHost(bytesOf(t), "take"));
  const results = backend.compile(ready).run(buffers);
  return results.map((buffer) => buffer.readSync().slice());
}

const count = (program: Program, which?: readonly Pass[]): Counts => {
  const counts: Counts = {};
  for (const { op } of runPasses(program, () => true, which).nodes) counts[op.name] = (counts[op.name] ?? 0) + 1;
  return counts;
};

describe.each(Object.entries(MODULES))("%s", (_, [make, fused, norms]) => {
  describe.each(["float32", "bfloat16"] as const)("%s", (dtype) => {
    const delayed = stepOf(make(dtype), new DelayedScaling({ amaxHistoryLen: 4 }), dtype);

    test("delayed scaling: norms and activations quantize, and nothing of 16 bits is widened for them", () => {
      const counts = count(delayed.program);
      expect(counts).toMatchObject(fused);
      for (const op of ["layer_norm", "rms_norm", "gated_activation"]) expect(counts).not.toHaveProperty(op);
      const { nodes, values } = runPasses(delayed.program, () => true);
      const backward = nodes.filter(({ op }) => /(norm|gated_activation)_backward$/.test(op.name));
      expect(backward.length).toBeGreaterThan(0);
      for (const { inputs } of backward)
        expect(inputs.slice(0, 2).map((id) => values[id]!.dtype)).toEqual([dtype, dtype]);
      for (const { op, params } of backward)
        if (op.name.startsWith("gated")) expect(params.wide).toBe(dtype !== "float32");
    });

    test("current scaling reads its tensors twice: nothing is joined", () => {
      const { program } = stepOf(make(dtype), new Float8CurrentScaling(), dtype);
      const counts = count(program);
      expect(counts).toEqual(count(program, without()));
      expect((counts.layer_norm ?? 0) + (counts.rms_norm ?? 0)).toBe(norms);
    });

    onEachDevice((device) => {
      test("the bits are those of norm, activation and quantization one by one", () => {
        const [joined, apart] = [passes(), without()].map((which) => run(delayed, which));
        if (device === "reference" || dtype === "float32") return expect(joined).toEqual(apart);
        // Kernels sum rows of 16 bits in another order than rows of float32: a statistic may be one unit off.
        expect(joined!.map(({ length }) => length)).toEqual(apart!.map(({ length }) => length));
        const steps = joined!.flatMap((bytes, k) => [...bytes].map((byte, i) => Math.abs(byte - apart![k]![i]!)));
        expect(steps.filter((step) => step > 0).length).toBeLessThan(steps.length / 1000);
        expect(Math.max(...steps)).toBeLessThan(2);
      });
    });
  });
});

test("the passes are in force, in this order", () => {
  const names = passes().map(({ name }) => name);
  expect(names.slice(names.indexOf(OURS[0]!), names.indexOf("expand"))).toEqual(OURS);
});
