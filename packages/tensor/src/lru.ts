/**
 * At most `limit` values by key, with keys of at most `characters` together unless there is one alone. The one that was
 * used least recently goes first, and `release` gets it. A hit costs a look-up and a number.
 */
export class Lru<V> {
  private readonly entries = new Map<string, { value: V; used: number }>();
  /** Uses as they were when one had to go, the oldest last: it serves until it is empty, so that this costs little each. */
  private oldestLast: { key: string; used: number }[] = [];
  private clock = 0;
  private length = 0;

  constructor(
    readonly limit: number,
    private readonly release: (value: V) => void = () => {},
    private readonly characters = Number.POSITIVE_INFINITY,
  ) {}

  get size(): number {
    return this.entries.size;
  }

  get(key: string): V | undefined {
    const entry = this.entries.get(key);
    if (!entry) return undefined;
    entry.used = ++this.clock;
    return entry.value;
  }

  set(key: string, value: V): void {
    const before = this.entries.get(key);
    if (before) this.release(before.value);
    else {
      this.length += key.length;
      while (this.entries.size > 0 && (this.entries.size >= this.limit || this.length > this.characters))
        this.dropOldest();
    }
    this.entries.set(key, { value, used: ++this.clock });
  }

  clear(): void {
    for (const { value } of this.entries.values()) this.release(value);
    this.entries.clear();
    this.oldestLast = [];
    this.length = 0;
  }

  private dropOldest(): void {
    for (;;) {
      if (this.oldestLast.length === 0) {
        this.oldestLast = [...this.entries].map(([key, { used }]) => ({ key, used })).sort((a, b) => b.used - a.used);
      }
      const { key, used } = this.oldestLast.pop()!;
      const entry = this.entries.get(key);
      if (entry?.used !== used) continue; // it was used since, as was all that is not in the list
      this.entries.delete(key);
      this.length -= key.length;
      this.release(entry.value);
      return;
    }
  }
}
