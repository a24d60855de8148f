/** What a call of an op is held to on every device before anything runs, and what callers cannot change. */
import "@te/kernels-cpu";
import {
  arange,
  dynamicSlice,
  dynamicUpdateSlice,
  einsum,
  full,
  jit,
  ones,
  random,
  split,
  TeError,
  type Tensor,
  tensor,
  zeros,
} from "@te/tensor";
import {
  addOp,
  applyOp,
  definedOps,
  defineOp,
  expectDType,
  reduceSumOp,
  softmaxOp,
  takeOp,
  wholeRule,
} from "@te/tensor/op";
import { expectError, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";

const x = (): Tensor => tensor([1, 2, 3]);
const apply = applyOp as (...args: unknown[]) => Tensor[];

onEachDevice(() => {
  test.each([
    ["no op", [undefined, [], {}], /applyOp: the op must be a definition that defineOp made, got undefined/],
    ["a copy of an op", [{ ...addOp.definition }, [], {}], /applyOp: the op must be a definition/],
    ["no inputs", [addOp.definition, undefined, {}], /add: inputs must be an array of tensors/],
    ["a missing input", [addOp.definition, [x()], {}], /add: input b is missing. Inputs: a, b/],
    ["undefined", [addOp.definition, [x(), undefined], {}], /add: input b is missing/],
    ["a number", [addOp.definition, [x(), 1], {}], /add: b must be a tensor, got 1/],
    ["null", [softmaxOp.definition, [null], {}], /softmax: x must be a tensor, got null/],
    ["one too many", [softmaxOp.definition, [x(), x()], {}], /softmax: there are 1 inputs: x, got 2 of them/],
    ["a hole", [concatOpDefinition(), new Array(2), {}], /concat: input input 0 is missing|concat: input 0/],
    ["a parameter of another kind", [reduceSumOp.definition, [x()], { axes: 0 }], /reduce_sum: axes must be an array/],
    [
      "a negative axis",
      [reduceSumOp.definition, [x()], { axes: [-1] }],
      /axes must be an array of integers of at least 0/,
    ],
    ["a list of a list", [reduceSumOp.definition, [x()], { axes: [[0]] }], /axes must be an array/],
    [
      "an unknown parameter",
      [reduceSumOp.definition, [x()], { axis: 0 }],
      /unknown parameter axis. Known: axes, keepDims/,
    ],
    ["an inherited name", [reduceSumOp.definition, [x()], { toString: 0 }], /unknown parameter toString/],
    ["null for parameters", [reduceSumOp.definition, [x()], null], /parameters must be an object, got null/],
  ])("%s is refused", (_, args, message) => expect(() => apply(...args)).toThrow(message));

  test("parameters left out take their defaults", async () => {
    const [y] = apply(reduceSumOp.definition, [x()], { axes: [0] });
    expect(await y!.item()).toBe(6);
    expect(y!.shape).toEqual([]);
  });

  test("a refused call leaves no program behind that a later one could find", async () => {
    expect(() => apply(takeOp.definition, [x(), 5], {})).toThrow(TeError);
    const [y] = apply(takeOp.definition, [x(), tensor(Int32Array.of(2))], {});
    expect(await y!.values()).toEqual(Float64Array.of(3));
  });

  test("plain numbers and unsigned integers do not wrap around into a window's place", async () => {
    const row = arange(10);
    const at = async (start: unknown): Promise<number> => (await dynamicSlice(row, start as never, [1]).values())[0]!;
    for (const beyond of [9, 2 ** 31, 2 ** 32, 2 ** 32 + 1, 2 ** 53]) expect(await at([beyond])).toBe(9);
    for (const before of [-1, -(2 ** 31) - 1, -(2 ** 32) + 3]) expect(await at([before])).toBe(0);
    expect(await at(tensor(Uint32Array.of(2 ** 32 - 1)))).toBe(9);
    expect(await at([tensor(Uint32Array.of(2 ** 31), { shape: [1] }).reshape([])])).toBe(9);
    for (const none of [2.7, Number.NaN, Number.POSITIVE_INFINITY, "1", undefined, 1n])
      expectError("index", /dynamicSlice: the start of axis 0 must be an integer/, () =>
        dynamicSlice(row, [none as never], [1]),
      );
    expectError("dtype", /start must be an integer tensor/, () => dynamicSlice(row, tensor([1.5]), [1]));
    const updated = dynamicUpdateSlice(zeros([10]), tensor([7]), [2 ** 31 + 5]);
    expect(Array.from(await updated.values())).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
  });

  test("uint32 indices beyond int32 are out of range", async () => {
    const wide = tensor(Uint32Array.of(2 ** 32 - 1));
    await expect(x().take(wide).values()).rejects.toThrow(/2147483647/);
  });

  test.each([
    [
      "ij,jk->ik",
      [
        [2, 0],
        [0, 3],
      ],
      [2, 3],
      0,
    ],
    [
      "ij,jk->ik",
      [
        [0, 2],
        [2, 3],
      ],
      [0, 3],
      undefined,
    ],
    [
      "bqhd,bkhd->bhqk",
      [
        [0, 2, 1, 4],
        [0, 3, 1, 4],
      ],
      [0, 1, 2, 3],
      undefined,
    ],
    [
      "...ij,...jk->...ik",
      [
        [0, 2, 3],
        [0, 3, 4],
      ],
      [0, 2, 4],
      undefined,
    ],
    [
      "...ij,...jk->...ik",
      [
        [0, 2, 3],
        [1, 3, 4],
      ],
      [0, 2, 4],
      undefined,
    ],
    ["i,i->", [[0], [0]], [], 0],
    ["i->", [[0]], [], 0],
  ] as const)("einsum %s of %j", async (equation, shapes, shape, value) => {
    const y = einsum(equation, ...shapes.map((s) => ones(s)));
    expect(y.shape).toEqual(shape);
    expect([...new Set(await y.values())]).toEqual(value === undefined ? [] : [value]);
  });

  test("einsum tells lengths 0 and 2 of one letter apart", () => {
    expectError("shape", /i in "i,i->" must have one length, got 0 and 2/, () => einsum("i,i->", ones([0]), ones([2])));
  });
});

const concatOpDefinition = (): unknown => definedOps().get("concat");

test("every op refuses to run without its inputs, with undefined, and with what is no tensor", () => {
  for (const op of definedOps().values()) {
    if (op.variadic || op.inputs.length === 0) continue;
    const inputs = op.inputs.map(() => x());
    for (const wrong of [[], inputs.map(() => undefined), [{ shape: [3], dtype: "float32" }, ...inputs.slice(1)]])
      expect(() => apply(op, wrong, op.params), op.name).toThrow(TeError);
  }
});

test("a shape rule that gives what is no shape is refused", () => {
  const bad = defineOp("bad_shape_for_a_test", {
    inputs: ["x"],
    outputs: ["y"],
    params: { length: 0 },
    shape: ({ x }, { length }) => ({ y: { shape: [length], dtype: x.dtype } }),
    sharding: wholeRule,
    reference: ({ x }) => ({ y: x }),
  });
  expect(() => bad({ x: x() }, { length: 1.5 })).toThrow(/every dimension must be a non-negative integer/);
  expect(() => bad({ x: x() }, { length: 2 ** 50 })).toThrow(/at most 2\^48 elements/);
});

test("parameters are of the kinds that the op declares", () => {
  const op = defineOp("kinds_for_a_test", {
    inputs: ["x"],
    outputs: ["y"],
    params: { mode: "a", count: 0, names: [] as readonly string[] },
    kinds: { mode: ["a", "b"], count: "size", names: "strings" },
    shape: ({ x }) => {
      expectDType("kinds", { x }, "float32");
      return { y: x };
    },
    sharding: wholeRule,
    reference: ({ x }) => ({ y: x }),
  });
  expect(() => op({ x: x() }, { mode: "c" as never })).toThrow(/mode must be one of a, b, got c/);
  expect(() => op({ x: x() }, { count: 2 ** 53 })).toThrow(/count must be an integer of at least 0/);
  expect(() => op({ x: x() }, { names: [1] as never })).toThrow(/names must be an array of strings/);
  expect(() => op({ x: x(), z: x() } as never)).toThrow(/unknown input z. Inputs: x/);
  expect(op({ x: x() }, { mode: "b", count: 3, names: ["n"] }).y.shape).toEqual([3]);
});

describe("what belongs to a tensor", () => {
  test("its shape is a frozen copy", () => {
    const shape = [1, 3];
    const t = tensor([1, 2, 3], { shape });
    shape[0] = 1000;
    expect(t.shape).toEqual([1, 3]);
    for (const made of [t, t.add(1), full(shape.slice(0, 0), 1), jit((a: Tensor) => a.mul(2))(t)]) {
      expect(Object.isFrozen(made.shape)).toBe(true);
      expect(() => ((made.shape as number[])[0] = 1e9)).toThrow();
    }
    jit((a: Tensor) => {
      expect(Object.isFrozen(a.shape)).toBe(true);
      expect(Object.isFrozen(a.exp().shape)).toBe(true);
      return a;
    })(t);
  });

  test("shape and dtype cannot be set", () => {
    const t = x() as { shape: readonly number[]; dtype: string };
    expectError("unsupported", /Tensor: the shape of a tensor does not change. Call reshape/, () => (t.shape = [1]));
    expectError("unsupported", /Tensor: the dtype of a tensor does not change. Call astype/, () => (t.dtype = "int32"));
  });

  test("JSON has no form for it, and says what to write", () => {
    const inside = { w: x().add(1) };
    expectError("unsupported", /JSON.stringify: a tensor has no JSON form.*toArray/, () => JSON.stringify(inside));
    expectError("unsupported", /JSON.stringify/, () => JSON.stringify([x()]));
  });

  test.each([
    ["on the host", x()],
    ["on the device", x().add(1)],
  ])("it is not cloned: %s", (_, t) => {
    expectError("unsupported", /structuredClone: a tensor cannot be cloned.*tensor\(data/, () => structuredClone(t));
    expectError("unsupported", /structuredClone/, () => structuredClone({ params: [t] }));
    const { port1 } = new MessageChannel();
    expectError("unsupported", /structuredClone/, () => port1.postMessage(t));
    port1.close();
  });

  test("methods need it", () => {
    const { add } = x();
    expectError("option", /add: the method belongs to a tensor, got undefined. Write x.add/, () => add(1));
  });
});

describe("sizes that would fill the memory end at once", () => {
  test("nested arrays", () => {
    expectError("memory", /toArray: the nested arrays would not fit/, () => zeros([2 ** 31, 0]).toArray());
    expect(String(zeros([2 ** 31, 0]))).toBe("float32[2147483648,0] []");
  });

  test("parts", () => {
    expectError("option", /split: there may be at most 65536 parts/, () => split(zeros([2 ** 26, 0]), 2 ** 26));
    expectError("option", /at most 65536/, () => random.split(random.key(0), 2 ** 26));
  });

  test("lists that hold themselves, and holes", () => {
    const list: unknown[] = [1];
    list.push(list);
    expectError("shape", /tensor: nested arrays may have 64 levels and must not contain themselves/, () =>
      tensor(list as never),
    );
    expectError("dtype", /elements must be numbers or booleans, got undefined/, () =>
      tensor(new Array(2 ** 32 - 1) as never),
    );
    expectError("shape", /at most 64 axes, got 4294967295/, () => zeros(new Array(2 ** 32 - 1)));
    expectError("shape", /every dimension/, () => zeros(list as never));
    expectError("option", /tensors\[0\] must be a tensor/, () => einsum("a,b", ...([[list]] as never[])));
  });
});
