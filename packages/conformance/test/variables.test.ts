/** Options that say what a variable is called, what it starts as, and which logical axes it has. */
import {
  constant,
  DenseGeneral,
  LayerNorm,
  LayerNormDenseGeneral,
  LayerNormMLP,
  Module,
  type Variables,
} from "@te/layers";
import { random, type Tensor, tree } from "@te/tensor";
import { normals } from "@te/testkit";
import { DotProductAttention, MultiHeadAttention, RelativePositionBiases, TransformerLayer } from "@te/transformer";
import { describe, expect, test } from "vitest";

type Args = readonly unknown[];
const x = normals([2, 3, 8]);
const heads = normals([2, 3, 2, 4]);
const small = { hiddenSize: 8, mlpHiddenSize: 16, numAttentionHeads: 2 };

/** A module of each kind with options added, and what it is called on. */
const MODULES: Readonly<Record<string, { make: (options: object) => Module; args: Args }>> = {
  LayerNorm: { make: (o) => new LayerNorm(o), args: [x] },
  DenseGeneral: { make: (o) => new DenseGeneral({ features: 4, useBias: true, ...o }), args: [x] },
  LayerNormDenseGeneral: { make: (o) => new LayerNormDenseGeneral({ features: 4, useBias: true, ...o }), args: [x] },
  LayerNormMLP: { make: (o) => new LayerNormMLP({ intermediateDim: 16, useBias: true, ...o }), args: [x] },
  RelativePositionBiases: {
    make: (o) => new RelativePositionBiases({ numBuckets: 8, maxDistance: 16, numAttentionHeads: 2, ...o }),
    args: [3, 3],
  },
  DotProductAttention: {
    make: (o) => new DotProductAttention({ headDim: 4, numAttentionHeads: 2, softmaxType: "learnable", ...o }),
    args: [heads, heads, heads],
  },
  MultiHeadAttention: {
    make: (o) => new MultiHeadAttention({ headDim: 4, numAttentionHeads: 2, useBias: true, ...o }),
    args: [x, x],
  },
  TransformerLayer: {
    make: (o) => new TransformerLayer({ ...small, useBias: true, ...o }),
    args: [x, { deterministic: true }],
  },
};

const init = (of: string, options: object): Variables => {
  const { make, args } = MODULES[of]!;
  return make(options).init(random.key(0), ...args);
};
const leafAt = (collection: unknown, path: string): unknown =>
  path.split("/").reduce((node: any, part) => node?.[part], collection);
const numbers = (t: unknown): number[] => [...(t as Tensor).astype("float32").dataSync()].map(Number);

/** Option, and the parameters that it makes. */
const INITIALIZERS: readonly [string, ...string[]][] = [
  ["LayerNorm.scaleInit", "scale"],
  ["LayerNorm.biasInit", "ln_bias"],
  ["DenseGeneral.kernelInit", "kernel"],
  ["DenseGeneral.biasInit", "bias"],
  ["LayerNormDenseGeneral.scaleInit", "scale"],
  ["LayerNormDenseGeneral.lnBiasInit", "ln_bias"],
  ["LayerNormDenseGeneral.kernelInit", "kernel"],
  ["LayerNormDenseGeneral.biasInit", "bias"],
  ["LayerNormMLP.scaleInit", "scale"],
  ["LayerNormMLP.lnBiasInit", "ln_bias"],
  ["LayerNormMLP.kernelInit", "wi_kernel", "wo_kernel"],
  ["LayerNormMLP.biasInit", "wi_bias", "wo_bias"],
  ["RelativePositionBiases.embeddingInit", "rel_embedding"],
  ["MultiHeadAttention.kernelInit", "out/kernel"],
  ["MultiHeadAttention.biasInit", "qkv/bias", "out/bias"],
  ["TransformerLayer.mhaKernelInit", "attention/out/kernel"],
  ["TransformerLayer.mlpKernelInit", "mlp/wi_kernel", "mlp/wo_kernel"],
  ["TransformerLayer.biasInit", "attention/qkv/bias", "attention/out/bias", "mlp/wi_bias", "mlp/wo_bias"],
];

describe("initializers", () => {
  test.each(INITIALIZERS)("%s", (key, ...paths) => {
    const [of, option] = key.split(".") as [string, string];
    const { params } = init(of, { [option]: constant(0.625) });
    for (const { path, leaf } of tree.leavesWithPath(params)) {
      const isAll = numbers(leaf).every((value) => value === 0.625);
      expect(isAll, path.join("/")).toBe(paths.includes(path.join("/")));
    }
  });

  test.each(["MultiHeadAttention.scaledQueryInit", "TransformerLayer.scaledQueryInit"])("%s", (key) => {
    const [of] = key.split(".") as [string];
    const [init1, path] =
      of === "TransformerLayer" ? ["mhaKernelInit", "attention/qkv/kernel"] : ["kernelInit", "qkv/kernel"];
    const kernel = (scaledQueryInit: boolean) =>
      numbers(leafAt(init(of, { [init1!]: constant(1), scaledQueryInit }).params, path!));
    expect(new Set(kernel(false))).toEqual(new Set([1]));
    // [hidden, 3, heads · depth]: the query's slice is divided by sqrt(headDim) = 2.
    expect(kernel(true).slice(0, 24)).toEqual([...Array(8).fill(0.5), ...Array(16).fill(1)]);
  });
});

/** Option, path and names for it. */
const AXES: readonly [string, string, number][] = [
  ["LayerNorm.scaleAxes", "scale", 1],
  ["LayerNorm.biasAxes", "ln_bias", 1],
  ["DenseGeneral.kernelAxes", "kernel", 2],
  ["DenseGeneral.biasAxes", "bias", 1],
  ["LayerNormDenseGeneral.scaleAxes", "scale", 1],
  ["LayerNormDenseGeneral.lnBiasAxes", "ln_bias", 1],
  ["LayerNormDenseGeneral.kernelAxes", "kernel", 2],
  ["LayerNormDenseGeneral.biasAxes", "bias", 1],
  ["LayerNormMLP.scaleAxes", "scale", 1],
  ["LayerNormMLP.lnBiasAxes", "ln_bias", 1],
  ["LayerNormMLP.kernelAxes1", "wi_kernel", 3],
  ["LayerNormMLP.kernelAxes2", "wo_kernel", 2],
  ["LayerNormMLP.biasAxes1", "wi_bias", 2],
  ["LayerNormMLP.biasAxes2", "wo_bias", 1],
  ["RelativePositionBiases.embeddingAxes", "rel_embedding", 2],
];

describe("logical axes", () => {
  test.each(AXES)("%s", (key, path, rank) => {
    const [of, option] = key.split(".") as [string, string];
    const names = ["first", null, "third"].slice(0, rank);
    const axes = (options: object) => init(of, options).params_axes;
    expect(leafAt(axes({ [option]: names }), path)).toEqual(names);
    expect({ ...(axes({ [option]: names }) as object), [path]: null }).toEqual({
      ...(axes({}) as object),
      [path]: null,
    });
  });
});

class Parent extends Module {
  constructor(private readonly make: () => Module) {
    super();
  }
  call(...args: unknown[]): unknown {
    return this.make().call(...args);
  }
}

describe("names of submodules", () => {
  test.each(Object.keys(MODULES))("%s.name", (of) => {
    const { make, args } = MODULES[of]!;
    const { params } = new Parent(() => make({ name: "chosen" })).init(random.key(0), ...args);
    expect(Object.keys(params)).toEqual(["chosen"]);
  });
});
