/** Tensors that tests are fed with. */
import { type DType, type Tensor, tensor } from "@te/tensor";
import { generator, normal, seedOf } from "./fill.js";

export interface NormalsOptions {
  /** Default "x". */
  readonly seed?: string | number;
  /** Default 1. */
  readonly std?: number;
  /** Default float32. */
  readonly dtype?: DType;
}

/** Normal numbers, the same for the same seed, rounded to dtype. */
export function normals(
  shape: readonly number[],
  { seed = "x", std = 1, dtype = "float32" }: NormalsOptions = {},
): Tensor {
  const uniform = generator(typeof seed === "number" ? seed : seedOf(seed));
  const size = shape.reduce((product, d) => product * d, 1);
  return tensor(
    Float64Array.from({ length: size }, () => std * normal(uniform)),
    { shape, dtype },
  );
}

/** A mask [batch, 1, queries, keys] of uint8 from a rule; 1 hides. */
export function maskOf(
  [batch, queries, keys]: readonly [number, number, number],
  hidden: (b: number, i: number, j: number) => boolean,
): Tensor {
  const codes = new Uint8Array(batch * queries * keys);
  for (let b = 0; b < batch; b++)
    for (let i = 0; i < queries; i++)
      for (let j = 0; j < keys; j++) codes[(b * queries + i) * keys + j] = hidden(b, i, j) ? 1 : 0;
  return tensor(codes, { shape: [batch, 1, queries, keys], dtype: "uint8" });
}
