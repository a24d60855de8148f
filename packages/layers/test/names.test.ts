/** Names of modules, variables, collections and random streams; variables that are not those of the module. */
import { random, type Tensor, zeros } from "@te/tensor";
import { expectError, normals } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { DenseGeneral, Dropout, LayerNormMLP, Module, type Variables } from "../src/index.js";

const x = normals([2, 3]);
const ILLEGAL = ["", "a/b", "/", "__proto__", 3, null];
const rule = (what: string) => new RegExp(`${what} must be a string without "/" that is neither empty nor __proto__`);

/** A module with a variable of any name and collection, and a submodule held by any property. */
class Free extends Module {
  readonly #inner: Module;

  constructor(
    private readonly names: { variable?: string; collection?: string; property?: string },
    inner: Module = new DenseGeneral({ features: 2 }),
  ) {
    super();
    this.#inner = inner;
    if (names.property !== undefined) Object.assign(this, { [names.property]: inner });
  }

  call(x: Tensor): Tensor {
    const { variable = "v", collection = "state" } = this.names;
    const { value } = this.variable(collection, variable, () => zeros([1]));
    return [this.#inner.call(x)].flat()[0].add(value);
  }
}

describe("names that are refused", () => {
  test.each(ILLEGAL.map((name) => [name]))("%j", (name) => {
    const given = name as never;
    expectError("option", rule("DenseGeneral: name"), () => new DenseGeneral({ features: 2, name: given }));
    expectError("option", rule("Dropout: rngName"), () => new Dropout({ rate: 0.5, rngName: given }));
    expectError(
      "option",
      rule("LayerNormMLP: intermediateDropoutRngName"),
      () => new LayerNormMLP({ intermediateDropoutRngName: given }),
    );
    expectError("option", rule("DenseGeneral.apply: the name of a collection in mutable"), () =>
      new DenseGeneral({ features: 2 }).apply({ params: {} }, x, { mutable: [given] }),
    );
  });
  test("of variables, collections, streams and properties", () => {
    const init = (names: object) => () => new Free(names).init(random.key(0), x);
    expectError("option", rule("the name of a variable"), init({ variable: "a/b" }));
    expectError("option", rule("the name of a collection"), init({ collection: "" }));
    expectError("option", rule("the name of a submodule"), init({ property: "a/b" }));
    expectError("option", rule("Dropout.apply: the name of a random stream"), () =>
      new Dropout({ rate: 0.5 }).apply({}, x, { rngs: { "a/b": random.key(0) } }),
    );
  });
});

test("names that every object inherits are names like others", () => {
  for (const name of ["constructor", "toString", "hasOwnProperty"]) {
    const module = new Free({ variable: name, collection: name, property: name });
    const variables = module.init(random.key(0), x);
    expect(Object.keys(variables)).toContain(name);
    expect(Object.keys(variables.params)).toEqual([name]);
    expect(module.apply(variables, x).shape).toEqual([2, 2]);
  }
  expect(Object.keys(Object)).toEqual([]);
  expect(Object.keys(Object.prototype)).toEqual([]);
});

test("a variable and a submodule of one name", () => {
  const module = new Free({ collection: "params", variable: "kernel", property: "kernel" });
  expectError("state", /kernel: params\/kernel must hold variables by name, got float32\[1\]/, () =>
    module.init(random.key(0), x),
  );
});

describe("variables that are not the module's", () => {
  const mlp = new LayerNormMLP({ intermediateDim: 4, name: "mlp" });
  const module = new Free({ property: "mlp" }, mlp);
  const variables = module.init(random.key(0), x);
  const apply = (other: unknown) => () => module.apply(other as Variables, x);

  test.each([[null], [undefined], [3], [[variables]], [x]])("%o instead of collections", (other) => {
    expectError("state", /^Free\.apply: variables must be an object of collections, got /, apply(other));
  });
  test.each([[null], [3], ["x"], [[1]], [x]])("%o instead of a collection", (params) => {
    expectError("state", /^Free\.apply: params must be a collection.*got .*init returned/, apply({ params }));
  });
  test("a collection that is undefined is one that is missing", () => {
    const message = /module: variable state\/v does not exist/;
    expectError("state", message, apply({ ...variables, state: undefined }));
    expectError("state", message, apply({ params: variables.params }));
    const path = /mlp: variable params\/mlp\/scale does not exist\. Pass the variables/;
    expectError("state", path, apply({ ...variables, params: { mlp: undefined } }));
  });
  test.each([[null], [3], [x], [[]]])("%o instead of a submodule's variables", (inner) => {
    const message = /^mlp: params\/mlp must hold variables by name, got .*Pass the variables that init returned/;
    expectError("state", message, apply({ ...variables, params: { mlp: inner } }));
  });
  test.each([
    [null, "null"],
    [3, "3"],
    [{}, "Object"],
    [normals([5]), "float32\\[5\\]"],
  ])("%o instead of a leaf", (leaf, got) => {
    const { mlp } = variables.params as { mlp: object };
    const message = new RegExp(`^mlp: params/mlp/scale must have shape \\[3\\], got ${got}\\.`);
    expectError("shape", message, apply({ ...variables, params: { mlp: { ...mlp, scale: leaf } } }));
    if (!(leaf instanceof Object && "shape" in leaf))
      expectError("state", new RegExp(`^module: state/v must be a tensor, got ${got}`), () =>
        module.apply({ ...variables, state: { v: leaf } } as never, x),
      );
  });
  test("integers instead of floats", () => {
    const { mlp } = variables.params as { mlp: Record<string, Tensor> };
    const message = /^mlp: params\/mlp\/scale must be floating, got int32\[3\]/;
    const scale = mlp.scale!.astype("int32");
    expectError("dtype", message, apply({ ...variables, params: { mlp: { ...mlp, scale } } }));
  });
  test("keys that are none", () => {
    const dropout = new Dropout({ rate: 0.5 });
    for (const key of [null, 3, "0"])
      expectError("option", /^Dropout\.apply: rngs\.dropout must be a key, got .*random\.key/, () =>
        dropout.apply({}, x, { rngs: { dropout: key } } as never),
      );
  });
});
