/** How products are split: any axis may be, and a contracted one leaves partial sums. */
import type { Aval } from "../aval.js";
import { expectFunction, expectNumbers, expectObject, expectStrings } from "../expect.js";
import { type RuleText, rule } from "../sharding/rule.js";
import type { Shard } from "../sharding/shard.js";
import { type DotAxes, dotShape, freeAxes } from "./dot-axes.js";

const numbered = (prefix: string, axes: readonly number[]): string[] => axes.map((_, i) => `${prefix}${i}`);

/**
 * The rule of a product of a and b, with the terms of other inputs between theirs and that of the optional bias: batch axes
 * are n0, n1, …, contracted ones k0, …, the free ones of a m0, …, those of b p0, ….
 */
export function dotRule(a: Aval, b: Aval, axes: DotAxes, others: readonly string[] = []): RuleText {
  dotShape("dotRule", a, b, axes);
  expectStrings("dotRule", { others });
  const { lhsContract, rhsContract, lhsBatch, rhsBatch } = axes;
  const [left, right] = [
    freeAxes(a.shape.length, lhsContract, lhsBatch),
    freeAxes(b.shape.length, rhsContract, rhsBatch),
  ];
  const [batch, contract] = [numbered("n", lhsBatch), numbered("k", lhsContract)];
  const [m, p] = [numbered("m", left), numbered("p", right)];
  const term = (of: Aval, places: readonly (readonly number[])[], names: readonly string[]): string =>
    of.shape.map((_, axis) => names[places.flat().indexOf(axis)]).join(" ");
  const operands = [
    term(a, [lhsBatch, lhsContract, left], [...batch, ...contract, ...m]),
    term(b, [rhsBatch, rhsContract, right], [...batch, ...contract, ...p]),
    ...others,
    p.join(" "),
  ];
  return rule(`${operands.join(", ")} -> ${[...batch, ...m, ...p].join(" ")}`);
}

/** Whether a shard's partial sum is the one that the bias is added to: the first along every contracted axis. */
export function holdsBias(shard: Shard, axes: Pick<DotAxes, "lhsContract">): boolean {
  expectObject("holdsBias", { shard, axes });
  expectFunction("holdsBias", { "shard.range": shard.range });
  expectNumbers("holdsBias", { lhsContract: axes.lhsContract });
  return numbered("k", axes.lhsContract).every((factor) => shard.range(factor).start === 0);
}
