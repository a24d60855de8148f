/** Options that shape the variables: initializers, logical axes and dtypes, each on its own. */
import { grad, random, type Tensor, tensor, tree } from "@te/tensor";
import { FLOATS } from "@te/tensor/op";
import { bits, expectClose, expectError, normals } from "@te/testkit";
import { describe, expect, test } from "vitest";
import {
  DenseGeneral,
  Embed,
  type Initializer,
  LayerNorm,
  LayerNormDenseGeneral,
  LayerNormMLP,
  Module,
} from "../src/index.js";

type Make = (options: object) => Module;

const x = normals([2, 6]);
const low = { enableLowRankAdaptation: true, lowRankAdaptationDim: 3 };

const makers: Record<string, Make> = {
  LayerNorm: (o) => new LayerNorm(o),
  DenseGeneral: (o) => new DenseGeneral({ features: [2, 4], useBias: true, ...low, ...o }),
  LayerNormDenseGeneral: (o) => new LayerNormDenseGeneral({ features: [2, 4], useBias: true, ...low, ...o }),
  LayerNormMLP: (o) =>
    new LayerNormMLP({ intermediateDim: 8, activations: ["silu", "linear"], useBias: true, ...low, ...o }),
  Embed: (o) => new Embed({ numEmbeddings: 5, features: 4, ...o }),
};
const input = (name: string) => (name === "Embed" ? x.astype("int32") : x);
const init = (name: string, options: object) => makers[name]!(options).init(random.key(0), input(name));

/** An initializer of distinct values, which notes the shapes that it is asked for. */
function recorder(): { init: Initializer; shapes: string[] } {
  const shapes: string[] = [];
  const make: Initializer = (_, shape, dtype) => {
    shapes.push(String(shape));
    return normals(shape, { seed: "mine", dtype });
  };
  return { init: make, shapes };
}

/** Option, the parameters that it makes, and the shapes that its initializer is asked for. */
const initializers: [string, string, string[], string[]][] = [
  ["LayerNorm", "scaleInit", ["scale"], ["6"]],
  ["LayerNorm", "biasInit", ["ln_bias"], ["6"]],
  ["DenseGeneral", "kernelInit", ["kernel", "lora_a_kernel"], ["6,2,4", "6,2,3"]],
  ["DenseGeneral", "biasInit", ["bias"], ["2,4"]],
  ["LayerNormDenseGeneral", "scaleInit", ["scale"], ["6"]],
  ["LayerNormDenseGeneral", "lnBiasInit", ["ln_bias"], ["6"]],
  ["LayerNormDenseGeneral", "kernelInit", ["kernel", "lora_a_kernel"], ["6,2,4", "6,2,3"]],
  ["LayerNormDenseGeneral", "biasInit", ["bias"], ["2,4"]],
  ["LayerNormMLP", "scaleInit", ["scale"], ["6"]],
  ["LayerNormMLP", "lnBiasInit", ["ln_bias"], ["6"]],
  [
    "LayerNormMLP",
    "kernelInit",
    ["wi_kernel", "wi_lora_a_kernel", "wo_kernel", "wo_lora_a_kernel"],
    ["6,8", "6,8", "8,6", "6,3", "6,3", "8,3"],
  ],
  ["LayerNormMLP", "biasInit", ["wi_bias", "wo_bias"], ["2,8", "6"]],
  ["Embed", "embeddingInit", ["embedding"], ["5,4"]],
];

describe("initializers", () => {
  test.each(initializers)("%s %s makes %j, and nothing else", (name, option, parameters, shapes) => {
    const mine = recorder();
    const [given, usual] = [init(name, { [option]: mine.init }), init(name, {})].map(({ params }) => bits(params));
    expect(mine.shapes).toEqual(shapes);
    const changed = Object.keys(usual!).filter((key) => String(given![key]) !== String(usual![key]));
    expect(changed.sort()).toEqual(parameters);
  });

  test("a zero-centred gamma starts at zero", () => {
    for (const name of ["LayerNorm", "LayerNormDenseGeneral", "LayerNormMLP"]) {
      const { params } = init(name, { zeroCenteredGamma: true });
      expect(bits(params).scale).toEqual(["float32", [6], [0, 0, 0, 0, 0, 0]]);
    }
  });
});

const axes: [string, string, string, number][] = [
  ["LayerNorm", "scaleAxes", "scale", 1],
  ["LayerNorm", "biasAxes", "ln_bias", 1],
  ["DenseGeneral", "kernelAxes", "kernel", 3],
  ["DenseGeneral", "biasAxes", "bias", 2],
  ["LayerNormDenseGeneral", "scaleAxes", "scale", 1],
  ["LayerNormDenseGeneral", "lnBiasAxes", "ln_bias", 1],
  ["LayerNormDenseGeneral", "kernelAxes", "kernel", 3],
  ["LayerNormDenseGeneral", "biasAxes", "bias", 2],
  ["LayerNormMLP", "scaleAxes", "scale", 1],
  ["LayerNormMLP", "lnBiasAxes", "ln_bias", 1],
  ["LayerNormMLP", "kernelAxes1", "wi_kernel", 3],
  ["LayerNormMLP", "kernelAxes2", "wo_kernel", 2],
  ["LayerNormMLP", "biasAxes1", "wi_bias", 2],
  ["LayerNormMLP", "biasAxes2", "wo_bias", 1],
  ["Embed", "embeddingAxes", "embedding", 2],
];

describe("logical axes", () => {
  test.each(axes)("%s %s are those of %s", (name, option, parameter, rank) => {
    const names = ["mine", null, "yours"].slice(0, rank);
    const { params_axes: given } = init(name, { [option]: names });
    expect(given).toEqual({ ...init(name, {}).params_axes, [parameter]: names });
  });
});

describe("dtypes", () => {
  test.each(Object.keys(makers))("%s stores every parameter in its dtype, and answers in that of the input", (name) => {
    for (const dtype of FLOATS) {
      const module = makers[name]!({ dtype });
      const variables = module.init(random.key(0), input(name));
      for (const { path, leaf } of tree.leavesWithPath(variables.params))
        expect(leaf.dtype, path.join("/")).toBe(dtype);
      for (const of of FLOATS) {
        if (name === "Embed") continue;
        const [y] = [module.apply(variables, x.astype(of))].flat();
        expect(y.dtype).toBe(of);
      }
    }
  });

  test("Embed answers in outputDtype, else in the dtype that it was given, else in that of its table", () => {
    const ids = input("Embed");
    for (const [options, table, dtype] of [
      [{}, "float32", "float32"],
      [{}, "bfloat16", "bfloat16"],
      [{}, "float16", "float16"],
      [{ dtype: "float32" }, "bfloat16", "float32"],
      [{ dtype: "bfloat16" }, "float32", "bfloat16"],
      [{ dtype: "bfloat16", outputDtype: "float32" }, "bfloat16", "float32"],
      [{ outputDtype: "float16" }, "bfloat16", "float16"],
    ] as const) {
      const module = makers.Embed!(options);
      expect((module.init(random.key(0), ids).params as any).embedding.dtype).toBe((options as any).dtype ?? "float32");
      const params = { embedding: normals([5, 4]).astype(table) };
      expect(module.apply({ params }, ids).dtype).toBe(dtype);
    }
  });
});

describe("a head that shares the embedding's table", () => {
  class Tied extends Module {
    readonly embed = new Embed({ numEmbeddings: 5, features: 4 });
    call(ids: Tensor): Tensor {
      return this.embed.attend(this.embed.call(ids));
    }
  }
  const ids = tensor([0, 3, 1], { dtype: "int32" });
  const tied = new Tied();
  const variables = tied.init(random.key(0), ids);
  const table = (variables.params as any).embed.embedding as Tensor;

  test("is the product with its transpose, and has no parameters of its own", () => {
    expect(tree.leavesWithPath(variables.params).map(({ path }) => path.join("/"))).toEqual(["embed/embedding"]);
    const product = table.take(ids).matmul(table.transpose());
    expectClose(tied.apply(variables, ids), product, "op");
  });

  test("answers in the dtype of its input, and its gradient is that of both uses", async () => {
    const narrow = { params: { embed: { embedding: table.astype("bfloat16") } } };
    expect(tied.apply(narrow, ids).dtype).toBe("bfloat16");
    const { params }: any = grad((v: any) => tied.apply(v, ids).sum())({ params: variables.params });
    const both: any = grad((t: Tensor) => t.take(ids).matmul(t.transpose()).sum())(table);
    expectClose(params.embed.embedding, both, "op");
  });

  test("refuses another width, integers, and a call outside of apply", () => {
    const attend = (x: Tensor) => () => {
      class Other extends Module {
        readonly embed = new Embed({ numEmbeddings: 5, features: 4 });
        call(): Tensor {
          return this.embed.attend(x);
        }
      }
      return new Other().init(random.key(0));
    };
    expectError("shape", /^Embed\.attend: x must have 4 features as last axis, got float32\[2,6\]/, attend(x));
    expectError(
      "dtype",
      /^Embed\.attend: x must be float32 or bfloat16 or float16, got int32/,
      attend(x.astype("int32")),
    );
    expectError("state", /a module runs inside init or apply/, () =>
      new Embed({ numEmbeddings: 5, features: 4 }).attend(x),
    );
  });
});

test("name places a module's variables under a parent of its own choice", () => {
  for (const [name, make] of Object.entries(makers)) expect(make({ name: "mine" }).name, name).toBe("mine");
});
