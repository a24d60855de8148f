/** What users get wrong first: each is a TeError that names the function and says the way out. */
import { checkpoint, grad, jit, ones, random, TeError, type Tensor, tensor, valueAndGrad, zeros } from "@te/tensor";
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
  ["an asynchronous loss", () => valueAndGrad(async (t: Tensor) => t.sum())(x), /^valueAndGrad: .* synchronous/],
  ["an asynchronous region", () => jit(any(checkpoint(async (t: Tensor) => t)))(x), /^checkpoint: .* synchronous/],
] as [string, () => unknown, RegExp][])("%s", (_, f, message) => {
  expect(messageOf(f)).toMatch(message);
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
