/**
 * Threefry-2x32 with 20 rounds: two random words from a key of two words and a counter of two words. Element i of a
 * draw uses the 64-bit counter i, so any part of a draw can be made on its own.
 */
const ROTATIONS = [
  [13, 15, 26, 6],
  [17, 29, 16, 24],
] as const;

const rotate = (x: number, by: number): number => (x << by) | (x >>> (32 - by));

/** Writes the two words (as int32) of the counter (high, low) to `out`. */
export function threefry2x32(key0: number, key1: number, high: number, low: number, out: Int32Array): void {
  const schedule = [key0 | 0, key1 | 0, key0 ^ key1 ^ 0x1bd11bda];
  let x0 = (high + schedule[0]!) | 0;
  let x1 = (low + schedule[1]!) | 0;
  for (let group = 0; group < 5; group++) {
    for (const by of ROTATIONS[group % 2]!) {
      x0 = (x0 + x1) | 0;
      x1 = rotate(x1, by) ^ x0;
    }
    x0 = (x0 + schedule[(group + 1) % 3]!) | 0;
    x1 = (x1 + schedule[(group + 2) % 3]! + group + 1) | 0;
  }
  out[0] = x0;
  out[1] = x1;
}

/** Calls body(i, word0, word1) for the counters i in [0, n). */
export function threefryCounters(
  key: ArrayLike<number>,
  n: number,
  body: (i: number, word0: number, word1: number) => void,
): void {
  const words = new Int32Array(2);
  for (let i = 0; i < n; i++) {
    threefry2x32(key[0]!, key[1]!, Math.floor(i / 2 ** 32), i, words);
    body(i, words[0]!, words[1]!);
  }
}
