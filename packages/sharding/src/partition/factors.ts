/** From the layout of an operand to factors of an op's rule that mesh axes split, and back. */
import { type Operand, type Range, type Rule, Shard } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";
import { countAlong, placeAlong } from "./layout.js";
import type { OpStep } from "./partitioned.js";

/** A factor that a mesh axis splits. */
export interface Split {
  readonly factor: string;
  readonly axis: string;
}

/** The axes that split each factor, outermost first; factors that are whole are not there. */
export type Assignment = ReadonlyMap<string, readonly string[]>;

/**
 * The splits that the layout of an operand stands for, as far as they can be told: a dimension that is a product of factors
 * is split along its outermost one until that has no more elements than parts.
 */
export function splitsOf(mesh: Mesh, rule: Rule, of: Operand, dims: readonly (readonly string[])[]): Split[] {
  return dims.flatMap((axes, i) => {
    const names = of.dims[i]!;
    const found: Split[] = [];
    let [at, taken] = [0, 1];
    for (const axis of axes) {
      const parts = mesh.shape[axis]!;
      while (at < names.length && taken === rule.factors[names[at]!]!.size) [at, taken] = [at + 1, 1];
      const factor = names[at];
      if (factor === undefined || !isSplittable(rule, factor, taken * parts)) break;
      found.push({ factor, axis });
      taken *= parts;
    }
    return found;
  });
}

/** Whether a factor may be cut into so many equal parts. What devices compute together has a single element on each. */
const isSplittable = (rule: Rule, factor: string, parts: number): boolean => {
  const { size, split } = rule.factors[factor]!;
  if (split === "together") return size === parts;
  return split !== "whole" && size > 0 && size % parts === 0;
};

/** The rule as it would be if an op could be split wherever its reference can. */
export function ruleOfReference(rule: Rule): Rule {
  const entries = Object.entries(rule.factors);
  if (!entries.some(([, { isComposed }]) => isComposed)) return rule;
  const factors = entries.map(([name, { size, split, isComposed }]) => [
    name,
    { size, split: isComposed ? ("free" as const) : split },
  ]);
  return { ...rule, factors: Object.fromEntries(factors) };
}

/** The factors as the splits cut them; undefined where they cannot be cut so. An axis may split one factor. */
export function assign(mesh: Mesh, rule: Rule, splits: readonly Split[]): Assignment | undefined {
  const axes = new Map<string, string[]>();
  for (const { factor, axis } of splits) {
    const before = axes.get(factor);
    if (before) before.push(axis);
    else axes.set(factor, [axis]);
  }
  for (const [factor, along] of axes) if (!isSplittable(rule, factor, countAlong(mesh, along))) return undefined;
  return axes;
}

/**
 * The axes that split each dimension of an operand under an assignment. Undefined where the parts would not be runs of the
 * dimension: an inner factor is split and one around it is not cut into single elements.
 */
export function dimsUnder(mesh: Mesh, rule: Rule, of: Operand, assignment: Assignment): string[][] | undefined {
  const all: string[][] = [];
  for (const names of of.dims) {
    const axes: string[] = [];
    let isOpen = true;
    for (const name of names) {
      const along = assignment.get(name) ?? [];
      if (along.length > 0 && !isOpen) return undefined;
      axes.push(...along);
      isOpen &&= countAlong(mesh, along) === rule.factors[name]!.size;
    }
    all.push(axes);
  }
  return all;
}

/** The part of a step that a device computes. */
export function shardOf(mesh: Mesh, { node, rule, assignment }: OpStep, device: number): Shard {
  const ranges: Record<string, Range> = {};
  for (const [factor, axes] of assignment) {
    const length = rule.factors[factor]!.size / countAlong(mesh, axes);
    ranges[factor] = { start: placeAlong(mesh, device, axes) * length, size: length };
  }
  return new Shard(node.op, rule, ranges);
}
