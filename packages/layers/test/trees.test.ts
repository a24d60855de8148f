/** X06: names, shapes, dtypes and logical axes of the variables of the layers. */
import { DelayedScaling, fp8Autocast } from "@te/fp8";
import { random } from "@te/tensor";
import { describeLeaves, normals } from "@te/testkit";
import { describe, expect, test } from "vitest";
import {
  DenseGeneral,
  Embed,
  LayerNorm,
  LayerNormDenseGeneral,
  LayerNormMLP,
  type Module,
  type Variables,
} from "../src/index.js";

const recipe = new DelayedScaling({ amaxHistoryLen: 4 });
const x = normals([2, 6]);

const metasOf = (postfix = ""): string[] =>
  ["grad", "kernel", "x"].flatMap((role) => [
    `${role}${postfix}_amax_history float32[4]`,
    `${role}${postfix}_scale float32[1]`,
  ]);

/** Leaves of params_axes are lists of names. */
function axesOf({ params_axes: axes }: Partial<Variables>, at: unknown = axes, path = ""): string[] {
  if (Array.isArray(at)) return [`${path.slice(1)}: ${at.map(String)}`];
  return Object.entries(at as object)
    .flatMap(([name, child]) => axesOf({}, child, `${path}/${name}`))
    .sort();
}

interface Row {
  readonly title: string;
  readonly module: Module;
  readonly input?: typeof x;
  readonly params: string[];
  readonly axes: string[];
  readonly metas?: string[];
}

const rows: Row[] = [
  {
    title: "LayerNorm",
    module: new LayerNorm(),
    params: ["ln_bias float32[6]", "scale float32[6]"],
    axes: ["ln_bias: embed", "scale: embed"],
  },
  {
    title: "LayerNorm, rmsnorm in bfloat16",
    module: new LayerNorm({ layernormType: "rms_norm", dtype: "bfloat16", scaleAxes: ["mine"] }),
    params: ["scale bfloat16[6]"],
    axes: ["scale: mine"],
  },
  {
    title: "DenseGeneral without options: no bias",
    module: new DenseGeneral({ features: 4 }),
    params: ["kernel float32[6,4]"],
    axes: ["kernel: "],
    metas: metasOf(),
  },
  {
    title: "DenseGeneral with all options",
    module: new DenseGeneral({
      features: [2, 4],
      axis: [-2, -1],
      useBias: true,
      kernelAxes: ["k0", "k1", "k2", null],
      biasAxes: ["b0", "b1"],
      enableLowRankAdaptation: true,
      lowRankAdaptationDim: 3,
      dtype: "bfloat16",
    }),
    input: normals([5, 2, 6]),
    params: [
      "bias bfloat16[2,4]",
      "kernel bfloat16[2,6,2,4]",
      "lora_a_kernel bfloat16[2,6,2,3]",
      "lora_b_kernel bfloat16[2,3,4]",
    ],
    axes: [
      "bias: b0,b1",
      "kernel: k0,k1,k2,null",
      "lora_a_kernel: null,null,null,null",
      "lora_b_kernel: null,null,null",
    ],
    metas: metasOf(),
  },
  {
    title: "LayerNormDenseGeneral",
    module: new LayerNormDenseGeneral({
      features: [3, 4],
      useBias: true,
      kernelAxes: ["a", "b", "c"],
      biasAxes: ["b", "c"],
    }),
    params: ["bias float32[3,4]", "kernel float32[6,3,4]", "ln_bias float32[6]", "scale float32[6]"],
    axes: ["bias: b,c", "kernel: a,b,c", "ln_bias: embed", "scale: embed"],
    metas: metasOf(),
  },
  {
    title: "LayerNormDenseGeneral without norm",
    module: new LayerNormDenseGeneral({ features: 4, enableLayernorm: false }),
    params: ["kernel float32[6,4]"],
    axes: ["kernel: "],
    metas: metasOf(),
  },
  {
    title: "LayerNormMLP",
    module: new LayerNormMLP({ intermediateDim: 8 }),
    params: ["ln_bias float32[6]", "scale float32[6]", "wi_kernel float32[6,1,8]", "wo_kernel float32[8,6]"],
    axes: ["ln_bias: embed", "scale: embed", "wi_kernel: embed,act,mlp", "wo_kernel: mlp,embed"],
    metas: [...metasOf("_0"), ...metasOf("_1")].sort(),
  },
  {
    title: "LayerNormMLP with all options",
    module: new LayerNormMLP({
      intermediateDim: 8,
      activations: ["silu", "linear"],
      useBias: true,
      layernormType: "RMS-Norm",
      enableLowRankAdaptation: true,
      lowRankAdaptationDim: 3,
    }),
    params: [
      "scale float32[6]",
      "wi_bias float32[2,8]",
      "wi_kernel float32[6,2,8]",
      "wi_lora_a_kernel float32[6,2,3]",
      "wi_lora_b_kernel float32[2,3,8]",
      "wo_bias float32[6]",
      "wo_kernel float32[8,6]",
      "wo_lora_a_kernel float32[8,3]",
      "wo_lora_b_kernel float32[3,6]",
    ],
    axes: [
      "scale: embed",
      "wi_bias: act,mlp",
      "wi_kernel: embed,act,mlp",
      "wi_lora_a_kernel: null,null,null",
      "wi_lora_b_kernel: null,null,null",
      "wo_bias: embed",
      "wo_kernel: mlp,embed",
      "wo_lora_a_kernel: null,null",
      "wo_lora_b_kernel: null,null",
    ],
    metas: [...metasOf("_0"), ...metasOf("_1")].sort(),
  },
];

describe("X06", () => {
  test.each(rows)("$title: params, params_axes, no metas", ({ module, input = x, params, axes }) => {
    const variables = module.init(random.key(0), input);
    expect(Object.keys(variables).sort()).toEqual(["params", "params_axes"]);
    expect(describeLeaves(variables.params)).toEqual(params);
    expect(axesOf(variables)).toEqual(axes);
  });

  test.each(rows.filter(({ metas }) => metas))(
    "$title: fp8_metas in autocast",
    ({ module, input = x, params, metas }) => {
      fp8Autocast({ enabled: true, fp8Recipe: recipe }, () => {
        const variables = module.init(random.key(0), input);
        expect(Object.keys(variables).sort()).toEqual(["fp8_metas", "params", "params_axes"]);
        expect(describeLeaves(variables.params)).toEqual(params);
        expect(describeLeaves(variables.fp8_metas)).toEqual(metas);
      });
    },
  );

  test("Embed", () => {
    const variables = new Embed({ numEmbeddings: 10, features: 4 }).init(random.key(0), normals([2]).astype("int32"));
    expect(describeLeaves(variables.params)).toEqual(["embedding float32[10,4]"]);
    expect(axesOf(variables)).toEqual(["embedding: vocab,embed"]);
  });
});
