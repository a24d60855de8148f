/** The sharding rule of a reshape: the factors that the axes of two shapes of one size share. */
import { type RuleText, rule } from "../sharding/rule.js";

const greatestDivisor = (a: number, b: number): number => (b === 0 ? a : greatestDivisor(b, a % b));

/** The axes of one shape, taken apart into factors from the outermost on. */
class Axes {
  private readonly factors: string[][];
  private axis = -1;
  /** What is left of the axis; 1 at the end. */
  left = 1;

  constructor(private readonly shape: readonly number[]) {
    this.factors = shape.map(() => []);
    this.skip();
  }

  private skip(): void {
    while (this.left === 1 && this.axis + 1 < this.shape.length) this.left = this.shape[++this.axis]!;
  }

  take(name: string, size: number): void {
    this.factors[this.axis]!.push(name);
    this.left /= size;
    this.skip();
  }

  term(): string {
    return this.factors.map((names, i) => (names.length === 0 ? this.shape[i] : `(${names.join(" ")})`)).join(" ");
  }
}

/**
 * Elements are in row-major order, so that both shapes have a common divisor of their outermost axes as a factor, and then
 * one of what is left. Where there is none, nothing is shared until the products of both sides meet again:
 * [4, 6] and [8, 3] are (a) (b c) and (a b) (c); [2, 3, 5] and [3, 2, 5] share the 5 alone.
 */
export function reshapeRule(from: readonly number[], to: readonly number[]): RuleText {
  if (from.includes(0) || to.includes(0)) return rule(`${from.join(" ")} -> ${to.join(" ")}`);
  const [a, b] = [new Axes(from), new Axes(to)];
  const sizes: Record<string, number> = {};
  const whole: string[] = [];
  const takeWhole = (axes: Axes): number => {
    const name = `w${whole.length}`;
    const size = axes.left;
    whole.push(name);
    sizes[name] = size;
    axes.take(name, size);
    return size;
  };
  while (a.left > 1) {
    const size = greatestDivisor(a.left, b.left);
    if (size > 1) {
      const name = `f${Object.keys(sizes).length}`;
      sizes[name] = size;
      a.take(name, size);
      b.take(name, size);
      continue;
    }
    for (let [x, y] = [takeWhole(a), takeWhole(b)]; x !== y; ) {
      if (x < y) x *= takeWhole(a);
      else y *= takeWhole(b);
    }
  }
  return rule(`${a.term()} -> ${b.term()}`, { whole, sizes });
}
