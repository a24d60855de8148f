import { type DType, type Tensor, tensor } from "@te/tensor";
import { generator, normal, seedOf } from "@te/testkit";

/** Normal numbers, the same for the same seed, rounded to dtype. */
export function normals(shape: readonly number[], o: { seed?: string; dtype?: DType } = {}): Tensor {
  const uniform = generator(seedOf(o.seed ?? "x"));
  const size = shape.reduce((product, d) => product * d, 1);
  return tensor(
    Float64Array.from({ length: size }, () => normal(uniform)),
    { shape, dtype: o.dtype ?? "float32" },
  );
}
