/**
 * Threefry-2x32 with 20 rounds: two random words from a key of two words and a counter of two words. Element i of a
 * draw uses the 64-bit counter i, so any part of a draw can be made on its own.
 */

/** Rotation counts of the rounds: the first four, then the second four, and again. */
const ROTATIONS = Int32Array.of(13, 15, 26, 6, 17, 29, 16, 24);

/** Writes the two words (as int32) of the counter (high, low) to `out`. */
export function threefry2x32(key0: number, key1: number, high: number, low: number, out: Int32Array): void {
  const key2 = key0 ^ key1 ^ 0x1bd11bda;
  let x0 = (high + key0) | 0;
  let x1 = (low + key1) | 0;
  // The words of the key that follow a group of four rounds; they take turns.
  let first = key1 | 0;
  let second = key2 | 0;
  let third = key0 | 0;
  for (let group = 1; group <= 5; group++) {
    const at = group % 2 ? 0 : 4;
    for (let round = at; round < at + 4; round++) {
      const by = ROTATIONS[round]!;
      x0 = (x0 + x1) | 0;
      x1 = ((x1 << by) | (x1 >>> (32 - by))) ^ x0;
    }
    x0 = (x0 + first) | 0;
    x1 = (x1 + second + group) | 0;
    const next = third;
    third = first;
    first = second;
    second = next;
  }
  out[0] = x0;
  out[1] = x1;
}

/** Calls body(i, word0, word1) for i in [0, n) with the words of the counters first + i. */
export function threefryCounters(
  key: ArrayLike<number>,
  first: number,
  n: number,
  body: (i: number, word0: number, word1: number) => void,
): void {
  const words = new Int32Array(2);
  const [key0, key1] = [key[0]! | 0, key[1]! | 0];
  for (let i = 0; i < n; i++) {
    threefry2x32(key0, key1, Math.floor((first + i) / 2 ** 32), first + i, words);
    body(i, words[0]!, words[1]!);
  }
}
