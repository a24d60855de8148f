/** Options of the layers that are none: names, kinds and values. */
import { random } from "@te/tensor";
import { expectError, normals } from "@te/testkit";
import { describe, test } from "vitest";
import {
  DenseGeneral,
  Dropout,
  Embed,
  LayerNorm,
  LayerNormDenseGeneral,
  LayerNormMLP,
  type Module,
} from "../src/index.js";

const x = normals([2, 6]);
const init = (module: Module) => () => module.init(random.key(0), x);

const makers: Record<string, (options: any) => Module> = {
  LayerNorm: (o) => new LayerNorm(o),
  DenseGeneral: (o) => new DenseGeneral({ features: 4, ...o }),
  LayerNormDenseGeneral: (o) => new LayerNormDenseGeneral({ features: 4, ...o }),
  LayerNormMLP: (o) => new LayerNormMLP({ intermediateDim: 4, ...o }),
  Dropout: (o) => new Dropout({ rate: 0, ...o }),
  Embed: (o) => new Embed({ numEmbeddings: 2, features: 4, ...o }),
};
describe.each(Object.entries(makers))("%s", (name, make) => {
  test("names that do not exist", () => {
    expectError("option", new RegExp(`^${name}: unknown option nmae\\. Did you mean name\\? Options: `), () =>
      make({ nmae: "a" }),
    );
    expectError(
      "option",
      new RegExp(`^${name}: name must be a string without "/" that is neither empty nor __proto__, got ""`),
      () => make({ name: "" }),
    );
  });
  test("options of call that do not exist", () => {
    const message = new RegExp(`^${name}.call: unknown option determinstic\\..*(Options: deterministic|no options)`);
    expectError("option", message, () => make({}).init(random.key(0), x, { determinstic: true }));
  });
  if (name === "Dropout" || name === "LayerNormMLP")
    test("options of call of another kind", () => {
      for (const deterministic of ["false", 1, null])
        expectError("option", new RegExp(`^${name}\\.call: deterministic must be true or false, got `), () =>
          make({}).init(random.key(0), x, { deterministic }),
        );
    });
  test("inputs that are no tensor", () => {
    for (const input of [1.5, null])
      expectError("option", new RegExp(`^${name}: (x|ids) must be a tensor, got ${input}`), () =>
        make({}).apply({}, input),
      );
  });
  test("options that are no object", () => {
    expectError("option", new RegExp(`^${name}: options must be an object, got null`), () => {
      const made = make({}) as unknown as { constructor: new (options: null) => Module };
      return new made.constructor(null);
    });
  });
  if (name !== "Dropout")
    test("dtypes that parameters cannot have", () => {
      for (const dtype of ["int32", "float8_e4m3fn", "double"])
        expectError("dtype", new RegExp(`^${name}: dtype must be float32 or bfloat16 or float16, got ${dtype}`), () =>
          make({ dtype }),
        );
    });
});

test.each([
  ["useBias", "DenseGeneral", 1],
  ["enableLowRankAdaptation", "LayerNormDenseGeneral", "yes"],
  ["returnLayernormOutput", "LayerNormMLP", null],
  ["zeroCenteredGamma", "LayerNorm", 0],
])("%s of %s must be a boolean", (option, name, value) => {
  expectError("option", new RegExp(`^${name}: ${option} must be true or false, got ${value}`), () =>
    makers[name]!({ [option]: value }),
  );
});

test.each([
  ["kernelInit", "DenseGeneral", 1, "a function"],
  ["kernelAxes", "DenseGeneral", "embed", "an array"],
  ["activations", "LayerNormMLP", null, "an array"],
  ["biasAxes", "LayerNorm", null, "an array"],
  ["broadcastDims", "Dropout", 0, "an array"],
])("%s of %s must not be of another kind", (option, name, value, kind) => {
  expectError("option", new RegExp(`^${name}: ${option} must be ${kind}, got ${value}`), () =>
    makers[name]!({ [option]: value }),
  );
});

test("features and axis of another kind", () => {
  for (const features of [null, {}, "8"])
    expectError("option", /^DenseGeneral: features must be a positive integer or a list/, () =>
      makers.DenseGeneral!({ features }),
    );
  for (const axis of [null, "1"])
    expectError("option", /^DenseGeneral: axis must be a number or an array/, init(makers.DenseGeneral!({ axis })));
});

test("initializers that give no parameter", () => {
  const message = /^DenseGeneral: the initializer of kernel must give a tensor of shape \[6,4\], got/;
  for (const kernelInit of [() => 0, () => x])
    expectError("option", message, init(makers.DenseGeneral!({ kernelInit })));
  const scaleInit = 1;
  const none = /^LayerNorm: the initializer of scale must be a function, got 1/;
  expectError("option", none, init(makers.LayerNorm!({ scaleInit })));
});

test.each(["LayerNorm", "LayerNormDenseGeneral", "LayerNormMLP"])("%s: epsilon", (name) => {
  for (const epsilon of [-1e-6, Number.NaN, Number.POSITIVE_INFINITY, "small", "5", true, []])
    expectError("option", new RegExp(`^${name}: epsilon must be a number of at least 0`), () =>
      makers[name]!({ epsilon }),
    );
});

test.each(["DenseGeneral", "LayerNormDenseGeneral", "LayerNormMLP"])("%s: adapters", (name) => {
  for (const lowRankAdaptationDim of [0, 1.5, -2])
    expectError("option", new RegExp(`^${name}: lowRankAdaptationDim must be an integer of at least 1`), () =>
      makers[name]!({ lowRankAdaptationDim }),
    );
  expectError("option", new RegExp(`^${name}: lowRankAdaptationAlpha must be a finite number or null, got NaN`), () =>
    makers[name]!({ lowRankAdaptationAlpha: Number.NaN }),
  );
});

test("of one module", () => {
  expectError("option", /^LayerNormMLP: intermediateDim must be an integer of at least 1, got 0/, () =>
    makers.LayerNormMLP!({ intermediateDim: 0 }),
  );
  expectError("option", /^LayerNormMLP: intermediateDropoutRate must be in \[0, 1\], got 2/, () =>
    makers.LayerNormMLP!({ intermediateDropoutRate: 2 }),
  );
  for (const rate of [null, "", true])
    expectError("option", /^Dropout: rate must be in \[0, 1\]/, () => makers.Dropout!({ rate }));
  expectError("option", /^LayerNormMLP: activationParams.limit must be a finite number, got NaN/, () =>
    makers.LayerNormMLP!({ activationParams: { limit: Number.NaN } }),
  );
  expectError("option", /^DenseGeneral: features is required/, () => new DenseGeneral({} as never));
  expectError("option", /^Embed: features must be an integer of at least 1, got 0/, () =>
    makers.Embed!({ features: 0 }),
  );
  expectError("dtype", /^Embed: ids must be an integer tensor/, init(makers.Embed!({})));
  expectError("dtype", /^Embed: outputDtype must be float32 or bfloat16 or float16, got int32/, () =>
    makers.Embed!({ outputDtype: "int32" }),
  );
});
