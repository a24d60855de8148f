/** What the layers refuse, and how they say it. */
import { fp8Autocast } from "@te/fp8";
import { grad, random, type Tensor } from "@te/tensor";
import { expectError, normals } from "@te/testkit";
import { describe, expect, test } from "vitest";
import {
  DenseGeneral,
  Dropout,
  dropout,
  gatedActivationOp,
  LayerNorm,
  LayerNormDenseGeneral,
  LayerNormMLP,
  layerNormOp,
  type Module,
  parseActivations,
  rmsNormOp,
  varianceScaling,
} from "../src/index.js";

const x = normals([2, 6]);
const init =
  (module: Module, input: Tensor = x) =>
  () =>
    module.init(random.key(0), input);

describe("norms", () => {
  const makers = {
    LayerNorm: (o: object) => new LayerNorm(o),
    LayerNormDenseGeneral: (o: object) => new LayerNormDenseGeneral({ features: 4, ...o }),
    LayerNormMLP: (o: object) => new LayerNormMLP(o),
  };
  test.each(Object.entries(makers))("%s: type", (name, make) => {
    expectError("option", new RegExp(`${name}: layernormType must be "layernorm" or "rmsnorm", got "batchnorm"`), () =>
      make({ layernormType: "batchnorm" }),
    );
    expectError("option", new RegExp(`${name}: zeroCenteredGamma is for layernormType "layernorm" only`), () =>
      make({ layernormType: "RMS_norm", zeroCenteredGamma: true }),
    );
    for (const layernormType of [" LayerNorm", "layer_norm", "LAYER-NORM", "rms-norm", "RmsNorm"])
      expect(() => make({ layernormType })).not.toThrow();
  });

  test("op: sizes and dtypes of gamma and beta, dtype of x", () => {
    expectError("shape", /layerNorm: gamma must have shape \[6\].*got float32\[5\]/, () =>
      layerNormOp({ x, gamma: normals([5]), beta: normals([6]) }),
    );
    expectError("shape", /layerNorm: beta must have shape \[6\]/, () =>
      layerNormOp({ x, gamma: normals([6]), beta: normals([7]) }),
    );
    expectError("shape", /rmsNorm: gamma must have shape \[6\]/, () => rmsNormOp({ x, gamma: normals([2]) }));
    expectError("dtype", /rmsNorm: x must/, () => rmsNormOp({ x: x.astype("int32"), gamma: normals([6]) }));
  });
});

describe("DenseGeneral", () => {
  test("kernelAxes must name every axis of the kernel", () => {
    expectError(
      "option",
      /DenseGeneral: the logical axes of kernel must be 2 names for its shape \[6,4\], got \[a\]/,
      init(new DenseGeneral({ features: 4, kernelAxes: ["a"] })),
    );
  });
  test.each([[0], [-1], [1.5], [[]], [[3, 0]]])("features %j", (features) => {
    expectError(
      "option",
      /DenseGeneral: features must be a positive integer or a list of them/,
      () => new DenseGeneral({ features }),
    );
  });
  test("axes", () => {
    expectError("option", /axis must be in \[-2, 2\), got 2/, init(new DenseGeneral({ features: 4, axis: 2 })));
    expectError("option", /axis must name distinct axes/, init(new DenseGeneral({ features: 4, axis: [1, -1] })));
    expectError("option", /axis must name distinct axes/, init(new DenseGeneral({ features: 4, axis: [] })));
  });
  test("a kernel made by an initializer that does not know vectors", () => {
    expectError("shape", /varianceScaling: the shape must have at least two axes, got \[4\]/, () =>
      varianceScaling(1, "fan_in", "normal")(random.key(0), [4], "float32"),
    );
  });
  test("adapters take at most five contracted and five feature axes", () => {
    const module = new DenseGeneral({ features: [1, 1, 1, 1, 1, 2], enableLowRankAdaptation: true });
    expectError("option", /at most 5 contracted axes and 5 feature axes.*got 1 and 6/, init(module));
  });
  test("FP8 refuses integers", () => {
    fp8Autocast({ enabled: true }, () =>
      expectError(
        "dtype",
        /x must be float32 or bfloat16 or float16/,
        init(new DenseGeneral({ features: 4 }), x.astype("int32")),
      ),
    );
  });
});

describe("LayerNormDenseGeneral", () => {
  test("axis other than -1", () => {
    expectError(
      "option",
      /LayerNormDenseGeneral: axis must be -1, got 0/,
      () => new LayerNormDenseGeneral({ features: 4, axis: 0 as never }),
    );
  });
  test("depthScaling 0", () => {
    expectError(
      "option",
      /depthScaling must be a finite number other than 0, or null, got 0/,
      () => new LayerNormDenseGeneral({ features: 4, depthScaling: 0 }),
    );
  });
  test("kernelAxes of the wrong length", () => {
    const module = new LayerNormDenseGeneral({ features: [3, 4], kernelAxes: ["a", "b"] });
    expectError(
      "option",
      /LayerNormDenseGeneral: the logical axes of kernel must be 3 names for its shape \[6,3,4\], got \[a,b\]/,
      init(module),
    );
  });
});

describe("LayerNormMLP", () => {
  test("axis other than -1", () => {
    expectError("option", /LayerNormMLP: axis must be -1, got -2/, () => new LayerNormMLP({ axis: -2 as never }));
  });
  test("activations", () => {
    expectError(
      "option",
      /activations must be among gelu, silu.*got "?mish/,
      () => new LayerNormMLP({ activations: ["mish"] }),
    );
    expectError(
      "option",
      /activations must be names/,
      () => new LayerNormMLP({ activations: [((v: number) => v) as never] }),
    );
    expectError("option", /activations must not be empty/, () => new LayerNormMLP({ activations: [] }));
    expectError(
      "option",
      /LayerNormMLP.activationParams: unknown option beta\. Options: limit, alpha, gluLinearOffset/,
      () => new LayerNormMLP({ activationParams: { beta: 1 } as never }),
    );
  });
  test.each([
    ["swiglu", 'Write "silu", "linear" for it\\.'],
    ["GEGLU", 'Write "gelu", "linear" for it\\.'],
    ["swish", 'Write "silu" for it\\.'],
    ["gleu", "Did you mean gelu\\?"],
    ["quick-gelu", "Did you mean quick_gelu\\?"],
    ["tanhshrink", "$"],
  ])("an activation named %s", (name, wayOut) => {
    const message = new RegExp(`activations must be among gelu, silu, .*, got ${name}\\.( ?)${wayOut}`);
    expectError("option", message, () => new LayerNormMLP({ activations: [name] }));
    expectError("option", message, () => gatedActivationOp({ u: normals([1, 4]) }, { activations: [name] }));
  });
  test("names in any case; a leading linear moves to the end", () => {
    const [a, b] = [
      ["Linear", "GELU"],
      ["gelu", "linear"],
    ].map((activations) => {
      const module = new LayerNormMLP({ intermediateDim: 4, activations });
      return module.apply(module.init(random.key(0), x), x)[0];
    });
    expect(a).toBeAllclose(b!);
  });
  test("kernels of the wrong size", () => {
    const module = new LayerNormMLP({ intermediateDim: 4, activations: ["silu", "linear"] });
    const { params } = module.init(random.key(0), x);
    const change = (name: string, shape: number[]) => () =>
      module.apply({ params: { ...params, [name]: normals(shape) } }, x);
    expectError("shape", /wi_kernel must have shape \[6,2,4\], got float32\[6,1,4\]/, change("wi_kernel", [6, 1, 4]));
    expectError("shape", /wi_kernel must have shape \[6,2,4\]/, change("wi_kernel", [6, 8]));
    expectError("shape", /wo_kernel must have shape \[4,6\]/, change("wo_kernel", [6, 4]));
  });
  test("the op: as many slices as activations, known names", () => {
    expectError("shape", /the second-last axis of u must be the number of activations, 2/, () =>
      gatedActivationOp({ u: normals([3, 1, 4]) }, { activations: ["gelu", "linear"] }),
    );
    expectError("option", /activations must be among/, () =>
      gatedActivationOp({ u: normals([1, 4]) }, { activations: ["toString"] }),
    );
  });
});

describe("Dropout", () => {
  test.each([-0.1, 1.1, Number.NaN])("rate %f", (rate) => {
    expectError("option", /Dropout: rate must be in \[0, 1\]/, () => new Dropout({ rate }));
  });
  test("broadcast dims that x does not have", () => {
    expectError("option", /broadcastDims must be axes of x, 0 to 1/, () =>
      new Dropout({ rate: 0.5, broadcastDims: [2] }).apply({}, x, { rngs: { dropout: random.key(0) } }),
    );
    expectError("option", /broadcastDims must be axes of x/, () =>
      new Dropout({ rate: 0.5, broadcastDims: [-3] }).apply({}, x, { rngs: { dropout: random.key(0) } }),
    );
  });
});

describe("inputs", () => {
  test("a scalar, and something else than a tensor", () => {
    const module = new DenseGeneral({ features: 4 });
    expectError("shape", /^DenseGeneral: x must have at least one axis, got float32\[\]/, init(module, x.sum()));
    expectError("option", /^DenseGeneral: x must be a tensor, got undefined/, () =>
      module.init(random.key(0), undefined as never),
    );
  });
  test.each([
    ["LayerNorm", new LayerNorm()],
    ["DenseGeneral", new DenseGeneral({ features: 4 })],
    ["LayerNormDenseGeneral", new LayerNormDenseGeneral({ features: 4 })],
    ["LayerNormMLP", new LayerNormMLP()],
  ])("%s refuses integers by name", (name, module) => {
    expectError(
      "dtype",
      new RegExp(`${name}: x must be float32 or bfloat16 or float16, got int32`),
      init(module, x.astype("int32")),
    );
  });
});

describe("logical axes", () => {
  const whole = ["a", "b", "c"];
  test.each<[string, () => Module]>([
    ["kernel", () => new DenseGeneral({ features: [2, 3], kernelAxes: ["a", "b"] })],
    ["bias", () => new DenseGeneral({ features: [2, 3], useBias: true, biasAxes: ["a"] })],
    ["scale", () => new LayerNorm({ scaleAxes: ["a", "b"] })],
    ["ln_bias", () => new LayerNorm({ biasAxes: ["a", "b"] })],
    ["ln_bias", () => new LayerNormDenseGeneral({ features: 2, lnBiasAxes: ["a", "b"] })],
    ["wi_kernel", () => new LayerNormMLP({ kernelAxes1: ["a", "b"] })],
    ["wo_kernel", () => new LayerNormMLP({ kernelAxes2: ["a"] })],
    ["wi_bias", () => new LayerNormMLP({ useBias: true, biasAxes1: ["a"] })],
    ["wo_bias", () => new LayerNormMLP({ useBias: true, biasAxes2: whole })],
  ])("of %s: one per axis", (name, make) => {
    expectError("option", new RegExp(`the logical axes of ${name} must be [12345] names for its shape`), init(make()));
  });

  const inputs: [string, () => Module][] = [
    ["inputAxes", () => new DenseGeneral({ features: 2, inputAxes: whole })],
    ["layernormInputAxes", () => new LayerNormDenseGeneral({ features: 2, layernormInputAxes: whole })],
    ["dotInputAxes", () => new LayerNormDenseGeneral({ features: 2, dotInputAxes: whole })],
    ["layernormInputAxes", () => new LayerNormMLP({ layernormInputAxes: whole })],
    ["dot1InputAxes", () => new LayerNormMLP({ dot1InputAxes: whole })],
    ["dot2InputAxes", () => new LayerNormMLP({ dot2InputAxes: whole })],
  ];
  test.each(inputs)("%s: one per axis, in FP8 too", (_, make) => {
    const message = /one logical name per dimension of x: .*, got \[a, b, c\]/;
    expectError("shape", message, init(make()));
    fp8Autocast({ enabled: true }, () => expectError("shape", message, init(make())));
  });
});

test("axis must be the number -1, not a list", () => {
  expectError("option", /LayerNormMLP: axis must be -1, got \[-1\]/, () => new LayerNormMLP({ axis: [-1] as never }));
});

test("activations that are no list", () => {
  expectError(
    "option",
    /activations must be an array, got gelu/,
    () => new LayerNormMLP({ activations: "gelu" as never }),
  );
});

test("statistics of norms have no derivative", () => {
  const sumOf = (statistic: "mean" | "rstd") => (x: Tensor) =>
    layerNormOp({ x, gamma: normals([6]), beta: normals([6]) })[statistic].sum();
  for (const statistic of ["mean", "rstd"] as const)
    expectError("unsupported", /layerNorm: mean and rstd have no derivative here.*variance\(\)/, () =>
      grad(sumOf(statistic))(x),
    );
  expectError("unsupported", /rmsNorm: .*no derivative/, () =>
    grad((x: Tensor) => rmsNormOp({ x, gamma: normals([6]) }).rstd.sum())(x),
  );
});

test("adapters of another rank than the module's", () => {
  const module = new DenseGeneral({ features: 4, enableLowRankAdaptation: true, lowRankAdaptationDim: 3 });
  const { params } = module.init(random.key(0), x);
  expectError("shape", /lora_b_kernel must have shape \[3,4\], got float32\[2,4\]/, () =>
    module.apply({ params: { ...params, lora_b_kernel: normals([2, 4]) } }, x),
  );
});

test("a key for dropout that is none", () => {
  expectError("shape", /key must be uint32\[2\].*random\.key/, () => dropout(x, normals([2]), { rate: 0.5 }));
});

test("an input that is FP8 already", () => {
  fp8Autocast({ enabled: true }, () =>
    expectError(
      "dtype",
      /DenseGeneral: x must be float32 or bfloat16 or float16, got float8_e4m3fn/,
      init(new DenseGeneral({ features: 2 }), x.astype("float8_e4m3fn")),
    ),
  );
});

test("names that are none where activations are parsed", () => {
  const parse = parseActivations as (...args: unknown[]) => unknown;
  expectError("option", /^parseActivations: fn must be a string, got Object/, () => parse({}, ["gelu"], null));
  expectError("option", /^parseActivations: names must be .*, got null/, () => parse("f", ["gelu"], null, null));
});
