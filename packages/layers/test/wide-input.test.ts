/** Parameters of 16 bits that meet float32 inputs: computation follows the input, which is said once per dtype. */
import { type DType, random, type Tensor, tree } from "@te/tensor";
import { normals } from "@te/testkit";
import { expect, test, vi } from "vitest";
import { DenseGeneral, LayerNorm, LayerNormDenseGeneral, LayerNormMLP, type Module } from "../src/index.js";

const makers: ((options: { dtype?: DType }) => Module)[] = [
  (o) => new DenseGeneral({ features: 4, ...o }),
  (o) => new LayerNorm(o),
  (o) => new LayerNormDenseGeneral({ features: 4, ...o }),
  (o) => new LayerNormMLP({ intermediateDim: 4, ...o }),
];
const x = normals([2, 6]);

test("said by the first layer, once; not where dtypes agree, nor of float32 parameters", () => {
  const write = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  const lines = (body: () => unknown): string[] => {
    write.mockClear();
    body();
    return write.mock.calls.map(([text]) => String(text));
  };
  const message = (name: string, dtype: DType): string =>
    `te: ${name}: parameters are ${dtype}, but computation is in float32, the dtype of the input. Cast the input with astype("${dtype}"), or the parameters to float32 where that is meant.\n`;
  const quiet = lines(() => {
    for (const make of makers) {
      make({ dtype: "bfloat16" }).init(random.key(0), x.astype("bfloat16"));
      make({}).init(random.key(0), x);
      make({}).init(random.key(0), x.astype("bfloat16"));
    }
  });
  expect(quiet).toEqual([]);
  expect(lines(() => makers.forEach((make) => void make({ dtype: "bfloat16" }).init(random.key(0), x)))).toEqual([
    message("DenseGeneral", "bfloat16"),
  ]);
  // Weights that were stored in 16 bits, in modules whose options say nothing of it.
  const mlp = makers[3]!({});
  const narrow = tree.map((t: Tensor) => t.astype("float16"), mlp.init(random.key(0), x).params) as never;
  expect(lines(() => mlp.apply({ params: narrow }, x))).toEqual([message("LayerNormMLP", "float16")]);
  write.mockRestore();
});
