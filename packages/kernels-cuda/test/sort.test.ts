/** Sorts on the GPU: rows in shared memory and rows through memory, every dtype, ties, NaN and signed zeros. */
import { argsort, type DType, setDevice, sort, type Tensor, tensor, topK } from "@te/tensor";
import { generator, seedOf } from "@te/testkit";
import { afterAll, expect, test } from "vitest";
import { expectSameBits, integers, numbers } from "./against-reference.js";

afterAll(() => setDevice("auto"));
const both = (x: Tensor, axis: number): Tensor[] =>
  [false, true].flatMap((descending) => [sort(x, axis, { descending }), argsort(x, axis, { descending })]);

/** Numbers of all sizes, some of them twice, NaN, infinities and both zeros. */
function mixed(shape: readonly number[], dtype: DType): Tensor {
  const next = generator(seedOf("mixed"));
  const odd = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, 1, -1];
  const size = shape.reduce((product, d) => product * d, 1);
  const draw = () => (next() < 0.2 ? odd[Math.floor(next() * odd.length)]! : (next() - 0.5) * 2 ** (next() * 30 - 15));
  return tensor(Float64Array.from({ length: size }, draw), { shape, dtype });
}

test.each([1, 2, 31, 64, 65, 1000, 4096, 4097, 9000])("rows of %i", async (length) => {
  for (const dtype of ["float32", "bfloat16", "float16"] as const) {
    await expectSameBits(() => both(mixed([3, length], dtype), 1));
    await expectSameBits(() => both(mixed([length, 3], dtype), 0));
  }
});
test("every dtype", async () => {
  for (const dtype of ["float8_e4m3fn", "float8_e5m2", "uint8", "int32", "uint32"] as const)
    await expectSameBits(() => [...both(numbers([2, 77], dtype), 1), ...both(numbers([2, 5000], dtype), 1)]);
  await expectSameBits(() => both(integers([5000], 2 ** 31 - 1).sub(2 ** 30), 0));
});
test("many short rows, and rows across others", async () => {
  await expectSameBits(() => [...both(mixed([700, 8], "float32"), 1), ...both(mixed([3, 40, 50], "bfloat16"), 1)]);
});
test("the largest of long rows", async () => {
  await expectSameBits(() => {
    const { values, indices } = topK(mixed([2, 12345], "float32"), 5);
    return [values, indices];
  });
});
test("an empty axis", async () => {
  setDevice("cuda");
  expect(await sort(numbers([3, 0]), 1).toArray()).toEqual([[], [], []]);
});
