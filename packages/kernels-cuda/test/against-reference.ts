/** What the GPU's kernels and the reference make of the same inputs: the same bits. */
import "./emulated.js";
import "@te/kernels-cuda";
import { type DType, setDevice, type Tensor, tensor } from "@te/tensor";
import { generator, seedOf } from "@te/testkit";
import { expect } from "vitest";

type Results = readonly Tensor[] | Tensor;
const list = (results: Results): readonly Tensor[] => (Array.isArray(results) ? results : [results as Tensor]);

async function bytesOn(device: string, make: () => Results): Promise<Buffer[]> {
  setDevice(device);
  try {
    const arrays = await Promise.all(list(make()).map((t) => t.data()));
    return arrays.map((a) => Buffer.from(a.buffer, a.byteOffset, a.byteLength));
  } finally {
    setDevice("auto");
  }
}

/** `make` makes its inputs itself, on the device it is called for. */
export async function expectSameBits(make: () => Results): Promise<void> {
  const [actual, expected] = [await bytesOn("cuda", make), await bytesOn("reference", make)];
  expect(actual.length).toBe(expected.length);
  actual.forEach((bytes, i) => {
    if (bytes.equals(expected[i]!)) return;
    const at = bytes.findIndex((byte, k) => byte !== expected[i]![k]);
    expect.fail(`result ${i} differs from the reference at byte ${at} of ${bytes.length}`);
  });
}

/** Small whole numbers, which every dtype holds. */
export function numbers(shape: readonly number[], dtype: DType = "float32", seed = "x"): Tensor {
  const next = generator(seedOf(seed));
  const size = shape.reduce((product, d) => product * d, 1);
  return tensor(
    Float64Array.from({ length: size }, () => Math.floor(next() * 16)),
    { shape, dtype },
  );
}

/** int32 in [0, high). */
export function integers(shape: readonly number[], high: number, seed = "i"): Tensor {
  const next = generator(seedOf(seed));
  const size = shape.reduce((product, d) => product * d, 1);
  return tensor(
    Int32Array.from({ length: size }, () => Math.floor(next() * high)),
    { shape },
  );
}
