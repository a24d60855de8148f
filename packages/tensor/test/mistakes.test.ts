/** What users get wrong first: each is a TeError that names the function and says the way out. */
import {
  all,
  arange,
  argmax,
  argmin,
  argsort,
  cast,
  checkpoint,
  concat,
  crossEntropy,
  cumsum,
  dynamicSlice,
  dynamicUpdateSlice,
  ERROR_CODES,
  einsum,
  exp,
  floor,
  grad,
  iota,
  jit,
  logsumexp,
  mean,
  oneHot,
  ones,
  pad,
  random,
  reshape,
  scatterAdd,
  sort,
  stack,
  sum,
  TeError,
  type Tensor,
  take,
  takeAlongAxis,
  tensor,
  topK,
  valueAndGrad,
  where,
  zeros,
} from "@te/tensor";
import { asTeError, wantsKernels } from "@te/tensor/backend";
import {
  broadcastShapes,
  expectIndexable,
  formatAval,
  freezeShape,
  normalizeAxis,
  rule,
  sameShape,
  sizeOf,
  stridesOf,
  tensorOwning,
} from "@te/tensor/op";
import { describe, expect, test } from "vitest";

const x = ones([2, 3]);
const any = (value: unknown): any => value;

/** The message of the TeError that f throws. */
function messageOf(f: () => unknown): string {
  try {
    f();
  } catch (error) {
    if (!TeError.is(error)) throw error;
    return error.message;
  }
  throw new Error("nothing was thrown");
}

test.each([
  ["a dtype instead of options", () => zeros([2], any("bfloat16")), /^zeros: options must be an object, got bfloat16/],
  ["an option of tensor", () => tensor([1], any({ dtyp: "int32" })), /^tensor: unknown option dtyp. .* dtype\?/],
  ["an option of a reduction", () => x.sum(0, any({ keepdims: true })), /^sum: unknown option keepdims. .* keepDims\?/],
  ["an option of a draw", () => random.normal(random.key(0), [2], any({ type: 1 })), /^random.normal: unknown option/],
  ["no value", () => any(ones)(any(undefined)), /^ones: shape must be an array/],
  ["axes that are none", () => x.mean(any("0")), /^mean: axes must be an integer or an array .* got "0"/],
  ["a shape in several arguments", () => any(x).reshape(3, 2), /^reshape: .* got 3. Write reshape\(\[2, -1\]\)/],
  ["axes in several arguments", () => any(x).transpose(1, 0), /^transpose: .* Write transpose\(\[1, 0\]\)/],
  ["numbers instead of arrays", () => any(x).slice(0, 1), /^slice: start must be an array/],
  ["a shape before the key", () => random.normal(any([2]), any(random.key(0))), /^random.normal: the key must be/],
  ["an operator", () => any(x) + 1, /^Tensor: \+, <, == .* got float32\[2,3\]. Use methods/],
  ["a comparison while tracing", () => jit((t: Tensor) => (any(t) < 3 ? t : t.neg()))(x), /^Tensor: \+, <, ==/],
  ["no function", () => jit(any(undefined)), /^jit: the first argument must be a function, got undefined/],
  ["a value instead of a function", () => grad(any(3)), /^grad: the first argument must be a function, got 3/],
  [
    "one position for many",
    () => jit((t: Tensor) => t, any({ staticArgnums: 0 })),
    /^jit: staticArgnums must be an array/,
  ],
  ["the name of a policy", () => checkpoint((t: Tensor) => t, any({ policy: "dots" })), /^checkpoint: policy must be/],
  [
    "an asynchronous loss",
    () => valueAndGrad((async (t: Tensor) => t.sum()) as never)(x),
    /^valueAndGrad: .* synchronous/,
  ],
  ["an asynchronous region", () => jit(any(checkpoint(async (t: Tensor) => t)))(x), /^checkpoint: .* synchronous/],
] as [string, () => unknown, RegExp][])("%s", (_, f, message) => {
  expect(messageOf(f)).toMatch(message);
});

const i = tensor(new Int32Array([0, 1]));
const integer = (range: string) => `axis must be an integer in ${range}, got`;
test.each([
  ["argmax", () => argmax(x, 0, any({ keepdims: true })), "unknown option keepdims. Did you mean keepDims?"],
  ["argmax", () => argmax(x, 0, any({ keepDims: 1 })), "keepDims must be true or false, got 1"],
  ["argmax", () => argmax(x, 5), `${integer("[-2, 2)")} 5`],
  ["argmin", () => argmin(x, any(null)), `${integer("[-2, 2)")} null`],
  ["argmin", () => argmin(any([1, 2])), "x must be a tensor, got [1, 2]. Make one with tensor()."],
  ["cumsum", () => cumsum(x, any(undefined)), `${integer("[-2, 2)")} undefined`],
  ["cumsum", () => cumsum(x, 0.5), `${integer("[-2, 2)")} 0.5`],
  ["cumsum", () => cumsum(x, 0, any({ reversed: true })), "unknown option reversed. Did you mean reverse?"],
  ["cumsum", () => cumsum(x, 0, any({ exclusive: "no" })), "exclusive must be true or false, got no"],
  ["cumsum", () => cumsum(any(3), 0), "x must be a tensor, got 3"],
  ["sort", () => sort(x, any({ descending: true })), `${integer("[-2, 2)")} Object`],
  ["sort", () => sort(x, 0, any({ descend: true })), "unknown option descend. Did you mean descending?"],
  ["argsort", () => argsort(x, 0, any(null)), "options must be an object, got null. Options: descending."],
  ["argsort", () => argsort(x, 2), `${integer("[-2, 2)")} 2`],
  ["topK", () => topK(x, any(undefined)), "k must be an integer in [0, 3], got undefined"],
  ["topK", () => topK(x, 1.5), "k must be an integer in [0, 3], got 1.5"],
  ["topK", () => topK(any([1]), 1), "x must be a tensor, got [1]"],
  ["take", () => take(x, i, any(1)), "options must be an object, got 1. Options: axis."],
  ["take", () => take(x, i, any({ axes: 1 })), "unknown option axes. Did you mean axis?"],
  ["take", () => take(x, i, { axis: 7 }), `${integer("[-2, 2)")} 7`],
  ["take", () => take(x, any(0)), "indices must be a tensor, got 0"],
  ["take", () => take(x, x), "indices must be an integer tensor, got float32[2,3]"],
  ["takeAlongAxis", () => takeAlongAxis(x, i, any({ axis: 1 })), `${integer("[-2, 2)")} Object`],
  ["takeAlongAxis", () => takeAlongAxis(x, any([0]), 1), "indices must be a tensor, got [0]"],
  ["scatterAdd", () => scatterAdd(i, x, any({})), "size is required"],
  ["scatterAdd", () => scatterAdd(i, x, any(undefined)), "options must be an object"],
  ["astype", () => cast(x, any(undefined)), "dtype must be one of float32, "],
  ["astype", () => x.astype("bfloat16", any({ saturated: true })), "unknown option saturated. Did you mean saturate?"],
  ["astype", () => x.astype("bfloat16", any({ saturate: 1 })), "saturate must be true or false, got 1"],
  ["astype", () => i.astype("int32", { saturate: true }), "saturate applies to float types, got int32"],
  ["astype", () => cast(any([1]), "int32"), "x must be a tensor, got [1]"],
  ["oneHot", () => oneHot(i, 3, any({ dtyp: "int32" })), "unknown option dtyp. Did you mean dtype?"],
  ["oneHot", () => oneHot(i, 3, any({ dtype: "int8" })), "dtype must be one of float32, "],
  ["oneHot", () => oneHot(i, any(undefined)), "classes must be a non-negative integer, got undefined"],
  ["oneHot", () => oneHot(i, 1.5), "classes must be a non-negative integer, got 1.5"],
  ["oneHot", () => oneHot(x, 3), "indices must be an integer tensor, got float32[2,3]"],
  ["oneHot", () => oneHot(any([0]), 3), "indices must be a tensor, got [0]"],
  ["crossEntropy", () => crossEntropy(x, ones([2])), "labels must be an integer tensor, got float32[2]"],
  ["logsumexp", () => logsumexp(x, 0, any({ keepdims: true })), "unknown option keepdims. Did you mean keepDims?"],
  ["dot", () => x.dot(x.T, any({ lhs: [1] })), "unknown option lhs. "],
  ["matmul", () => x.matmul(any(3)), "b must be a tensor, got 3"],
  ["matmul", () => x.matmul(x.T, any({ dtyp: "float32" })), "unknown option dtyp. Did you mean dtype?"],
  ["exp", () => exp(any(3)), "x must be a tensor, got 3. Make one with tensor()."],
  ["floor", () => floor(any([1.5])), "x must be a tensor, got [1.5]"],
  ["sum", () => sum(any([1])), "x must be a tensor, got [1]"],
  ["mean", () => mean(any([1])), "x must be a tensor, got [1]"],
  ["any", () => x.any(0, any({ keepdims: true })), "unknown option keepdims. Did you mean keepDims?"],
  ["all", () => all(any([true])), "x must be a tensor, got [true]"],
  ["reshape", () => reshape(any([1]), [1]), "x must be a tensor, got [1]"],
  ["broadcastTo", () => x.broadcastTo(any(3)), "shape must be an array of non-negative integers, got 3"],
  ["where", () => where(any(true), x, x), "condition must be a tensor, got true"],
  ["pad", () => pad(x, any(1), [0, 0]), "low must be an array of integers, one for each axis, got 1"],
  ["dynamicSlice", () => dynamicSlice(x, any(0), [1, 1]), "start must be an array of numbers or scalar tensors"],
  ["dynamicSlice", () => dynamicSlice(x, [0, 0], any(undefined)), "sizes must be an array of integers"],
  ["dynamicUpdateSlice", () => dynamicUpdateSlice(x, any(1), [0, 0]), "update must be a tensor, got 1"],
  ["concat", () => any(concat)(x, x), "tensors must be an array of tensors, got float32[2,3]"],
  ["stack", () => stack(any([x, 1])), "tensors[1] must be a tensor, got 1"],
  ["einsum", () => einsum("ij->", any(3)), "tensors[0] must be a tensor, got 3"],
  ["einsum", () => einsum(any(x), x), "the equation must be a string, got float32[2,3]"],
  [
    "arange",
    () => arange(300, undefined, 1, { dtype: "uint8" }),
    "every number must be an integer in [0, 255] for uint8",
  ],
  ["arange", () => arange(-1, 3, 1, { dtype: "uint32" }), "every number must be an integer in [0, 4294967295]"],
  [
    "iota",
    () => iota([2, 300], 1, { dtype: "uint8" }),
    "the last index must be an integer in [0, 255] for uint8, got 299",
  ],
] as [string, () => unknown, string][])("%s %#", (name, f, message) => {
  const beginning = `${name}: ${message}`;
  expect(messageOf(f).slice(0, beginning.length)).toBe(beginning);
});

const symbols = any([Symbol("a")]);
const endless: any[] = [];
endless.push(endless);
test.each([
  [
    "formatAval",
    () => formatAval({ shape: symbols, dtype: "float32" }),
    "a value must have a shape and a dtype, got float32[Symbol(a)]",
  ],
  ["tensorOwning", () => tensorOwning(any(undefined), [2], "float32"), "data must be a typed array, got undefined"],
  ["tensorOwning", () => tensorOwning(new Uint8Array(2), [2], "float32"), "data must have elements of 4 bytes, got 1"],
  ["rule", () => rule("a", any(null)), "options must be an object, got null"],
  ["rule", () => rule(any(1)), "text must be a string, got 1"],
  [
    "random.uniform",
    () => random.uniform(random.key(0), [2], any({ dtype: endless })),
    "dtype must be float32, bfloat16 or float16, got [[",
  ],
  [
    "random.choice",
    () => random.choice(random.key(0), any(endless)),
    "the number of elements must be a non-negative integer, got [[",
  ],
  [
    "random.truncatedNormal",
    () => random.truncatedNormal(random.key(0), any(endless), 1),
    "low must be a number, got [[",
  ],
  ["sizeOf", () => sizeOf(symbols), "shape must be an array of at most 64 numbers, got [Symbol(a)]"],
  ["sizeOf", () => sizeOf(any([2n])), "shape must be an array of at most 64 numbers, got [2]"],
  ["sizeOf", () => sizeOf(any([Object.create(null)])), "shape must be an array of at most 64 numbers, got [object]"],
  ["stridesOf", () => stridesOf(symbols), "shape must be an array of at most 64 numbers, got [Symbol(a)]"],
  ["sameShape", () => sameShape([1], any(["1"])), 'shape must be an array of at most 64 numbers, got ["1"]'],
  ["freezeShape", () => freezeShape(new Array(1)), "shape must be an array of at most 64 numbers, got [undefined]"],
  ["f", () => broadcastShapes("f", symbols, [2]), "shape must be an array of at most 64 numbers, got [Symbol(a)]"],
  ["f", () => normalizeAxis("f", 0, any(endless)), "the rank must be an integer in [0, 128], got [["],
  ["f", () => normalizeAxis("f", 0, Number.NaN), "the rank must be an integer in [0, 128], got NaN"],
  ["f", () => expectIndexable("f", x, any(new Array(2 ** 32 - 1))), "axis must be an integer in [-2, 2), got [undef"],
  ["wantsKernels", () => wantsKernels(any(null)), "env must be an object, got null"],
  [
    "wantsKernels",
    () => wantsKernels(any({ TE_KERNELS: Symbol("on") })),
    "TE_KERNELS must be a string, got Symbol(on)",
  ],
] as [string, () => unknown, string][])("a check of a value of another kind: %s %#", (name, f, message) => {
  const beginning = `${name}: ${message}`;
  expect(messageOf(f).slice(0, beginning.length)).toBe(beginning);
});

test.each([
  ["an object without toString", Object.create(null), "backend: a device must throw errors, got object."],
  ["undefined", undefined, "backend: a device must throw errors, got undefined."],
  ["a message that is no text", { code: "memory", message: 5 }, "backend: a device must throw errors, got Object."],
  ["an error of the system", Object.assign(new Error("f: gone."), { code: "ENOENT" }), "f: gone."],
])("what a device throws becomes a TeError: %s", (_, thrown, message) => {
  const error = asTeError(thrown);
  expect(error).toMatchObject({ message, cause: thrown });
  expect(ERROR_CODES).toContain(error.code);
});

describe("reading data inside jit", () => {
  test.each(["data", "values", "toArray", "item", "dataSync"] as const)("%s throws where it is called", (method) => {
    const read = jit((t: Tensor) => {
      t[method]();
      return t;
    });
    expect(messageOf(() => read(ones([])))).toMatch(new RegExp(`^(${method}): float32\\[\\] is traced`));
  });
});

test("strings that read like other values are quoted", () => {
  expect(messageOf(() => random.key(any("0")))).toMatch(/got "0"\.$/);
  expect(messageOf(() => x.add(any("")))).toMatch(/got ""\./);
});

test("the gradient at a number is that at a scalar", async () => {
  expect(await grad((t: Tensor) => t.mul(t))(3).item()).toBe(6);
});

test("integers are printed with all digits, in text of JavaScript too", () => {
  expect(`${random.key(-1)}`).toBe("uint32[2] [0, 4294967295]");
});
