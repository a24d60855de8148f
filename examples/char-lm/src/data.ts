/** The book as character ids: vocabulary, split, and batches that depend on nothing but a key. */
import { readFileSync } from "node:fs";
import { random, type Tensor, tensor } from "@te/tensor";

/** Share of the text, at its end, that is held out from training. */
const HELD_OUT = 0.1;

export const bookPath = new URL("../data/moby-dick.txt", import.meta.url);

/** A text as ids of its characters, which are numbered in the order of their code points. */
export interface Corpus {
  readonly characters: readonly string[];
  readonly training: Int32Array;
  readonly heldOut: Int32Array;
  /** Entropy of single characters of the whole text in nats: the loss of a model that knows their frequencies only. */
  readonly unigramEntropy: number;
}

export function readCorpus(text: string = readFileSync(bookPath, "utf8")): Corpus {
  const all = Array.from(text);
  const characters = [...new Set(all)].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!);
  const ids = encode(characters, text);
  const split = Math.floor(ids.length * (1 - HELD_OUT));
  return {
    characters,
    training: ids.subarray(0, split),
    heldOut: ids.subarray(split),
    unigramEntropy: entropy(ids, characters.length),
  };
}

/** Throws an Error that names the first character that is not in the vocabulary. */
export function encode(characters: readonly string[], text: string): Int32Array {
  const idOf = new Map(characters.map((character, id) => [character, id]));
  return Int32Array.from(Array.from(text), (character) => {
    const id = idOf.get(character);
    if (id === undefined) throw new Error(`the book has no character ${JSON.stringify(character)}`);
    return id;
  });
}

export const decode = (characters: readonly string[], ids: Iterable<number>): string =>
  Array.from(ids, (id) => characters[id] ?? "\uFFFD").join("");

/** -Σ p log p over the frequencies of ids. */
function entropy(ids: Int32Array, count: number): number {
  const counts = new Float64Array(count);
  for (const id of ids) counts[id]!++;
  return counts.reduce((sum, n) => (n ? sum - (n / ids.length) * Math.log(n / ids.length) : sum), 0);
}

/** Windows of `length` ids that start at `offsets`, as int32 [offsets.length, length]. */
export function windows(ids: Int32Array, offsets: ArrayLike<number>, length: number): Tensor {
  const data = new Int32Array(offsets.length * length);
  for (let row = 0; row < offsets.length; row++) {
    data.set(ids.subarray(offsets[row]!, offsets[row]! + length), row * length);
  }
  return tensor(data, { shape: [offsets.length, length] });
}

export interface BatchShape {
  readonly batch: number;
  /** Characters that the model sees; a window has one more, the last to be predicted. */
  readonly sequence: number;
}

/**
 * Where the windows of every step start: [steps][batch], uniform over the training text. The same key gives the same
 * offsets on every device, for every model and for every number of steps that includes a step.
 */
export async function trainingOffsets(
  key: Tensor,
  ids: Int32Array,
  { steps, batch, sequence }: BatchShape & { readonly steps: number },
): Promise<Int32Array[]> {
  const drawn = random.randint(key, [steps, batch], 0, ids.length - sequence);
  const flat = (await drawn.data()) as Int32Array;
  drawn.dispose();
  return Array.from({ length: steps }, (_, step) => flat.subarray(step * batch, (step + 1) * batch));
}

/** `count` batches of windows at even distances over the held-out text: the same ones every time. */
export function heldOutOffsets(ids: Int32Array, { batch, sequence }: BatchShape, count: number): number[][] {
  const last = ids.length - sequence - 1;
  const windowCount = batch * count;
  const at = (i: number) => Math.floor((i * last) / Math.max(1, windowCount - 1));
  return Array.from({ length: count }, (_, b) => Array.from({ length: batch }, (_, row) => at(b * batch + row)));
}
