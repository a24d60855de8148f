/** Turns the fills of a case into arrays: seeded, so that every run and every backend sees the same values. */
import { type Tensor, tensor } from "@te/tensor";
import { type Case, type Fill, fromFloat64, type HostArray, sizeOf } from "@te/tensor/op";

/** Uniform numbers in [0, 1) from a 32-bit seed (sfc32). */
export function generator(seed: number): () => number {
  let [a, b, c, d] = [seed | 0, 0x9e3779b9, 0x243f6a88, 1];
  const next = (): number => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + t;
    return (t >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < 16; i++) next();
  return next;
}

/** A standard normal number, by Box and Muller. */
export const normal = (uniform: () => number): number =>
  Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());

/** A 32-bit seed from text (FNV-1a). */
export function seedOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash;
}

function draw(fill: Fill, uniform: () => number): number {
  const { mean = 0, std = 1, low = 0, high = 1, p = 0.5 } = fill;
  switch (fill.kind) {
    case "normal":
      return mean + std * normal(uniform);
    case "uniform":
      return low + (high - low) * uniform();
    case "integers":
      return low + Math.floor((high - low) * uniform());
    case "bools":
      return uniform() < p ? 1 : 0;
    case "values":
      throw new Error("values are given, not drawn");
  }
}

/** The values of a fill, rounded to its dtype. */
export function fillArray(fill: Fill, seed: string): HostArray {
  const { shape, dtype, values } = fill;
  if (values && values.length !== sizeOf(shape)) {
    throw new Error(`a fill of shape [${shape}] needs ${sizeOf(shape)} values, got ${values.length}`);
  }
  const uniform = generator(seedOf(seed));
  const drawn = values ?? Float64Array.from({ length: sizeOf(shape) }, () => draw(fill, uniform));
  return { shape, dtype, data: fromFloat64(dtype, drawn) };
}

/** The inputs of a case by name. */
export function fillCase(op: string, { name, inputs }: Case): Record<string, HostArray> {
  return Object.fromEntries(
    Object.entries(inputs).map(([input, fill]) => [input, fillArray(fill, `${op}/${name}/${input}`)]),
  );
}

export const toTensor = ({ data, shape, dtype }: HostArray): Tensor => tensor(data, { shape, dtype });
