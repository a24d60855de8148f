import { type DType, TeError, type Tensor, tensor } from "@te/tensor";
import { generator, normal } from "@te/testkit";
import { expect } from "vitest";

/** Expects a TeError with this code whose message matches. */
export function expectError(code: string, message: RegExp, fn: () => unknown): void {
  let error: unknown;
  try {
    fn();
  } catch (thrown) {
    error = thrown;
  }
  expect(TeError.is(error), `a TeError, got ${error}`).toBe(true);
  expect((error as TeError).code).toBe(code);
  expect((error as TeError).message).toMatch(message);
}

/** Normal numbers, the same for the same seed, rounded to dtype. */
export function normals(shape: readonly number[], o: { seed: number; std?: number; dtype?: DType }): Tensor {
  const uniform = generator(o.seed);
  const size = shape.reduce((product, d) => product * d, 1);
  const values = Float64Array.from({ length: size }, () => (o.std ?? 1) * normal(uniform));
  return tensor(values, { shape, dtype: o.dtype ?? "float32" });
}
