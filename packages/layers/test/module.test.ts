/** How modules find, name and create their variables. */
import { random, setDevice, type Tensor, tensor, tree } from "@te/tensor";
import { bits, describeLeaves, expectError, findDifference, normals, onEachDevice, presentDevices } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { DenseGeneral, Dropout, LayerNorm, Module, ones, type Variables, zeros } from "../src/index.js";

const x = normals([2, 3]);

class Counter extends Module {
  call(x: Tensor): Tensor {
    const count = this.variable("state", "count", () => tensor(0));
    count.value = count.value.add(1);
    return x.add(count.value);
  }
}

const countOf = ({ state }: Partial<Variables>): number => tree.leaves(state)[0]!.dataSync()[0]! as number;

class Block extends Module {
  readonly first = new DenseGeneral({ features: 4 });
  readonly layers = [new DenseGeneral({ features: 4 }), new DenseGeneral({ features: 4, name: "named" })];

  call(x: Tensor, { twice = false }: { twice?: boolean } = {}): Tensor {
    let y = this.first.call(x);
    for (const layer of this.layers) y = layer.call(y);
    y = new LayerNorm().call(new LayerNorm().call(y));
    return twice ? this.layers[0]!.call(y) : y;
  }
}

describe("names", () => {
  test("of submodules: property, index in an array property, name option, class and number", () => {
    const { params } = new Block().init(random.key(0), x);
    expect(Object.keys(params).sort()).toEqual(["LayerNorm_0", "LayerNorm_1", "first", "layers_0", "named"]);
  });

  test("a submodule that is called twice has one set of variables", () => {
    const block = new Block();
    expect(describeLeaves(block.init(random.key(0), x, { twice: true }).params)).toEqual(
      describeLeaves(block.init(random.key(0), x).params),
    );
  });

  test("two submodules of one name are an error", () => {
    class Clash extends Module {
      call(x: Tensor): Tensor {
        return new LayerNorm({ name: "norm" }).call(new LayerNorm({ name: "norm" }).call(x));
      }
    }
    expectError("state", /two submodules are named "norm"/, () => new Clash().init(random.key(0), x));
  });
});

describe("init", () => {
  const dense = new DenseGeneral({ features: 3 });

  test("one key gives one set of parameters, another key another", () => {
    expect(bits(dense.init(random.key(1), x))).toEqual(bits(dense.init(random.key(1), x)));
    expect(bits(dense.init(random.key(2), x))).not.toEqual(bits(dense.init(random.key(1), x)));
  });

  test("every device makes the same parameters, up to the last bits", () => {
    const made = presentDevices().map((device) => {
      setDevice(device);
      return dense.init(random.key(1), normals([2, 64])).params.kernel as Tensor;
    });
    setDevice("auto");
    for (const kernel of made) expect(findDifference(kernel, made[0]!, { n: 2e-7, x: 1e-6 })).toBeUndefined();
  });

  test("works from the shapes and dtypes of the inputs alone", () => {
    expect(bits(dense.init(random.key(1), x))).toEqual(bits(dense.init(random.key(1), x.mul(Number.NaN))));
  });

  test("a key per stream", () => {
    const module = new Dropout({ rate: 0.5 });
    expect(module.init({ params: random.key(0), dropout: random.key(1) }, x)).toEqual({ params: {} });
  });
});

describe("apply", () => {
  const dense = new DenseGeneral({ features: 3, useBias: true });
  const variables = dense.init(random.key(0), x);

  test("a module runs only inside init or apply", () => {
    expectError("state", /DenseGeneral.call: a module runs inside init or apply/, () => dense.call(x));
  });

  test("a parameter that is missing is named with its path", () => {
    const { bias: _, ...rest } = variables.params;
    expectError("state", /variable params\/bias does not exist.*variables that init returned/, () =>
      dense.apply({ params: rest }, x),
    );
  });

  test("a parameter of another shape is named with both shapes", () => {
    const params = { ...variables.params, kernel: normals([5, 3]) };
    expectError("shape", /module: params\/kernel must have shape \[3,3\], got float32\[5,3\]/, () =>
      dense.apply({ params }, x),
    );
  });

  test("a module runs again after it has thrown", () => {
    expectError("shape", /params\/kernel/, () => dense.apply(variables, normals([2, 7])));
    expect(dense.apply(variables, x).shape).toEqual([2, 3]);
  });

  test("variables of other collections change only where they may, and not in place", () => {
    const counter = new Counter();
    const start = counter.init(random.key(0), x);
    expect(countOf(start)).toBe(1);
    expectError("state", /collection "state" may not change here.*mutable: \["state"\]/, () => counter.apply(start, x));
    const [y, changed] = counter.apply(start, x, { mutable: ["state"] });
    expect(countOf(changed)).toBe(2);
    expect(countOf(start)).toBe(1);
    expect(y.dataSync()[0]).toBeCloseTo(x.dataSync()[0]! + 2, 5);
  });

  test("a collection that may change can start empty", () => {
    const [, changed] = new Counter().apply({ params: {} }, x, { mutable: ["state"] });
    expect(countOf(changed)).toBe(1);
  });

  test("random numbers need a key", () => {
    const module = new Dropout({ rate: 0.5 });
    expectError("option", /a key for the random stream "dropout" is missing.*rngs: \{ dropout/, () =>
      module.apply({}, x),
    );
    const other = new Dropout({ rate: 0.5, rngName: "noise" });
    expectError("option", /random stream "noise"/, () => other.apply({}, x, { rngs: { dropout: random.key(0) } }));
  });

  test("rngs and mutable of another kind are errors", () => {
    const module = new Dropout({ rate: 0.5 });
    const x = tensor([1, 2]);
    expectError("option", /^Dropout\.init: rngs must be a key or an object/, () => module.init(null as never, x));
    for (const rngs of [null, 3, [random.key(0)]])
      expectError("option", /^Dropout\.apply: rngs must be a key or an object/, () =>
        module.apply({}, x, { rngs } as never),
      );
    for (const mutable of ["cache", true, null])
      expectError("option", /^Dropout\.apply: mutable must be an array of names/, () =>
        module.apply({}, x, { rngs: { dropout: random.key(0) }, mutable } as never),
      );
  });

  test("options follow the last argument that is given", () => {
    class Optional extends Module {
      override get optionsPosition(): number {
        return 2;
      }
      call(x: Tensor, y?: Tensor, { scale = 1 }: { scale?: number } = {}): Tensor {
        return (y ? x.add(y) : x).mul(scale);
      }
    }
    const module: Module = new Optional();
    const first = (...args: unknown[]): number => module.apply({}, tensor([1]), ...args).dataSync()[0]!;
    expect(first({ scale: 3 })).toBe(3);
    expect(first(tensor([4]), { scale: 3 })).toBe(15);
    expect(first(tensor([4]))).toBe(5);
  });
});

onEachDevice(() => {
  test("initializers that are constants", () => {
    const key = random.key(0);
    expect(ones(key, [2], "bfloat16")).toBeAllclose([1, 1]);
    expect(zeros(key, [2, 1], "float32")).toBeAllclose([[0], [0]]);
  });
});
