/** What one call of the fuzzer draws from: the same numbers for the same seed and index, whatever ran before. */
import { generator, normal, seedOf } from "@te/testkit";

export class Draw {
  /** The next number in [0, 1). */
  readonly next: () => number;

  constructor(seed: number, index: number) {
    this.next = generator(seedOf(`${seed}/${index}`));
  }

  /** An integer in [0, n). */
  below(n: number): number {
    return Math.floor(this.next() * n);
  }

  /** An integer in [low, high]. */
  integer(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(p: number): boolean {
    return this.next() < p;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  normal(): number {
    return normal(this.next);
  }
}
