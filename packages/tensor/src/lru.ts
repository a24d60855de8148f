/**
 * At most `limit` values by key, with keys of at most `characters` in all but for one; the one that was used least recently goes first, and `release` gets it. A hit costs a
 * look-up and a number: the oldest is looked for when one has to go.
 */
export class Lru<V> {
  private readonly entries = new Map<string, { value: V; used: number }>();
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
    this.length = 0;
  }

  private dropOldest(): void {
    let oldest: string | undefined;
    let time = Number.POSITIVE_INFINITY;
    for (const [key, { used }] of this.entries) if (used < time) [oldest, time] = [key, used];
    this.release(this.entries.get(oldest!)!.value);
    this.entries.delete(oldest!);
    this.length -= oldest!.length;
  }
}
