/** The arena: offsets of values within one piece of memory, taken and given back while a program is planned. */

const ALIGN = 64;
const align = (bytes: number): number => Math.ceil(bytes / ALIGN) * ALIGN;

interface Gap {
  offset: number;
  bytes: number;
}

/** Hands out ranges of one piece of memory: the smallest gap that fits, else what lies behind the last range. */
export class Arena {
  /** Free ranges between taken ones, by offset; no two touch, and none touches the end. */
  private readonly gaps: Gap[] = [];
  private end = 0;
  private highest = 0;

  /** Bytes that the arena needs. */
  get bytes(): number {
    return this.highest;
  }

  /** Takes a range and returns its offset. */
  take(wanted: number): number {
    const bytes = align(wanted);
    let best = -1;
    for (let i = 0; i < this.gaps.length; i++) {
      const size = this.gaps[i]!.bytes;
      if (size >= bytes && (best < 0 || size < this.gaps[best]!.bytes)) best = i;
    }
    if (best < 0) {
      this.end += bytes;
      this.highest = Math.max(this.highest, this.end);
      return this.end - bytes;
    }
    const gap = this.gaps[best]!;
    const { offset } = gap;
    gap.offset += bytes;
    gap.bytes -= bytes;
    if (gap.bytes === 0) this.gaps.splice(best, 1);
    return offset;
  }

  /** Gives a range back. */
  give(offset: number, given: number): void {
    const bytes = align(given);
    if (bytes === 0) return;
    const at = this.firstGapBehind(offset);
    const [before, after] = [this.gaps[at - 1], this.gaps[at]];
    const touchesBefore = before !== undefined && before.offset + before.bytes === offset;
    const touchesAfter = after !== undefined && after.offset === offset + bytes;
    const gap = {
      offset: touchesBefore ? before.offset : offset,
      bytes: bytes + (touchesBefore ? before.bytes : 0) + (touchesAfter ? after.bytes : 0),
    };
    const from = at - (touchesBefore ? 1 : 0);
    const count = (touchesBefore ? 1 : 0) + (touchesAfter ? 1 : 0);
    if (gap.offset + gap.bytes === this.end) {
      this.end = gap.offset;
      this.gaps.splice(from, count);
    } else this.gaps.splice(from, count, gap);
  }

  private firstGapBehind(offset: number): number {
    let [low, high] = [0, this.gaps.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.gaps[middle]!.offset < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
