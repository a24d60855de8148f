/** How a node is split: the choice that moves the fewest bytes. */
import type { Aval } from "@te/tensor";
import type { Rule } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";
import { type Assignment, assign, dimsUnder, type Split, splitsOf } from "./factors.js";
import { countAlong, type Layout } from "./layout.js";
import { costOf } from "./reshard.js";

/** A node as it is to be split: its factors, and the layouts that this asks of its inputs and gives its outputs. */
export interface Choice {
  readonly assignment: Assignment;
  readonly inputs: readonly (Layout | undefined)[];
  readonly outputs: readonly Layout[];
}

/** A node and where its operands stand: the layouts of its inputs, and those that are wished for its outputs. */
export interface Asked {
  readonly rule: Rule;
  readonly avals: { readonly inputs: readonly (Aval | undefined)[]; readonly outputs: readonly Aval[] };
  readonly inputs: readonly (Layout | undefined)[];
  readonly wishes: readonly (readonly (readonly string[])[] | undefined)[];
  /** Axes that may split nothing here: partial results along them pass through. */
  readonly busy: ReadonlySet<string>;
}

/** Steps of a loop nest that take as long as a byte on the wire: a device computes so much faster than it sends. */
const STEPS_PER_BYTE = 32;

/** Bytes that go towards a wish after the work count so often: better the work is done where its result is wanted. */
const AFTERWARDS = 2;

/** Axes with more candidates than this are decided one after the other. */
const MOST_CHOICES = 256;

/** The cheapest way to split a node: bytes sent for its inputs and towards what is wished, and work done more than once. */
export function choose(mesh: Mesh, asked: Asked): Choice {
  const candidates = candidatesOf(mesh, asked);
  const axes = [...new Set(candidates.map(({ axis }) => axis))];
  const options = axes.map((axis) => [...candidates.filter((split) => split.axis === axis), undefined]);
  const count = options.reduce((n, of) => n * of.length, 1);
  const chosen = count <= MOST_CHOICES ? allOf(options) : [];
  let best: { cost: number; choice: Choice } | undefined;
  const consider = (splits: readonly (Split | undefined)[]): boolean => {
    const kept = candidates.filter((split) => splits.includes(split));
    const choice = tryChoice(mesh, asked, kept);
    if (!choice) return false;
    const cost = costOfChoice(mesh, asked, choice);
    if (best && cost >= best.cost) return false;
    best = { cost, choice };
    return true;
  };
  consider([]);
  for (const splits of chosen) consider(splits);
  if (count > MOST_CHOICES) {
    let kept: (Split | undefined)[] = [];
    for (const of of options) {
      const before = kept;
      for (const split of of) if (consider([...before, split])) kept = [...before, split];
    }
  }
  return best!.choice;
}

/** What inputs have and outputs want, once each. The order is that of the operands, and axes of one factor keep theirs. */
function candidatesOf(mesh: Mesh, { rule, inputs, wishes, busy }: Asked): Split[] {
  const found = new Map<string, Split>();
  const add = (splits: readonly Split[]): void => {
    for (const split of splits) {
      const key = `${split.axis} ${split.factor}`;
      if (!busy.has(split.axis) && !found.has(key)) found.set(key, split);
    }
  };
  inputs.forEach((layout, i) => layout && add(splitsOf(mesh, rule, rule.inputs[i]!, layout.dims)));
  wishes.forEach((dims, i) => dims && add(splitsOf(mesh, rule, rule.outputs[i]!, dims)));
  return [...found.values()];
}

function* allOf<T>([first, ...rest]: readonly (readonly T[])[]): Generator<T[]> {
  if (!first) return yield [];
  for (const item of first) for (const others of allOf(rest)) yield [item, ...others];
}

function tryChoice(mesh: Mesh, { rule }: Asked, splits: readonly Split[]): Choice | undefined {
  const assignment = assign(mesh, rule, splits);
  if (!assignment) return undefined;
  const inputs: (Layout | undefined)[] = [];
  for (const of of rule.inputs) {
    const dims = of && dimsUnder(mesh, rule, of, assignment);
    if (of && !dims) return undefined;
    inputs.push(dims && { dims, partial: {} });
  }
  const outputs: Layout[] = [];
  for (const of of rule.outputs) {
    const dims = dimsUnder(mesh, rule, of, assignment);
    if (!dims) return undefined;
    const kept = new Set(of.dims.flat());
    const partial: Record<string, "sum" | "max" | "min"> = {};
    for (const [factor, axes] of assignment) {
      const { split } = rule.factors[factor]!;
      if (kept.has(factor) || split === "together") continue;
      if (split === "free" || split === "whole") return undefined;
      for (const axis of axes) partial[axis] = split;
    }
    outputs.push({ dims, partial });
  }
  return { assignment, inputs, outputs };
}

function costOfChoice(mesh: Mesh, asked: Asked, choice: Choice): number {
  const { rule, avals } = asked;
  const { assignment, inputs, outputs } = choice;
  let cost = 0;
  for (const [i, to] of inputs.entries()) if (to) cost += costOf(mesh, avals.inputs[i]!, asked.inputs[i]!, to);
  const left = leftBehind(mesh, asked, assignment);
  for (const [i, { dims, partial }] of outputs.entries()) {
    const wished = (asked.wishes[i] ?? dims).map((axes) => axes.filter((axis) => !left.has(axis) || !partial[axis]));
    const counted = Object.fromEntries(Object.entries(partial).filter(([axis]) => !left.has(axis)));
    cost += AFTERWARDS * costOf(mesh, avals.outputs[i]!, { dims, partial: counted }, { dims: wished, partial: {} });
  }
  const steps = Object.values(rule.factors).reduce((n, { size }) => n * size, 1);
  const parts = [...assignment.values()].reduce((n, axes) => n * countAlong(mesh, axes), 1);
  return cost + steps / STEPS_PER_BYTE / parts;
}

/** Axes that split a factor of inputs as these lie already: what they leave to be combined has to be combined in any case. */
function leftBehind(mesh: Mesh, { rule, inputs }: Asked, assignment: Assignment): Set<string> {
  const moved = new Set<string>();
  for (const [i, layout] of inputs.entries()) {
    const operand = rule.inputs[i];
    if (!layout || !operand) continue;
    const names = new Set(operand.dims.flat());
    const there = new Set(splitsOf(mesh, rule, operand, layout.dims).map(({ factor, axis }) => `${factor} ${axis}`));
    for (const [factor, axes] of assignment)
      for (const axis of axes) if (names.has(factor) && !there.has(`${factor} ${axis}`)) moved.add(axis);
  }
  return new Set([...assignment.values()].flat().filter((axis) => !moved.has(axis)));
}
