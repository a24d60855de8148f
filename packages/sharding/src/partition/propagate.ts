/** What the layouts of inputs and constraints suggest for the other values of a program. */
import type { Program, ProgramNode } from "@te/tensor/backend";
import type { Operand, Rule } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";
import { shardingConstraintOp } from "../ops/sharding-constraint.js";
import { dimsOfConstraint } from "./constraint-dims.js";
import { assign, dimsUnder, ruleOfReference, type Split, splitsOf } from "./factors.js";

/** For each value the axes that should split its dimensions, where anything suggests some. */
export type Wishes = Map<number, readonly (readonly string[])[]>;

/** Sweeps over a program until nothing new is suggested, at most so often each way. */
const SWEEPS = 4;

/**
 * The layouts that values should have, found by following the rules of ops both ways: from inputs, constraints and the
 * outputs that are asked for. What came first stays; more axes may come to split what none of these fixes. Where operands of an
 * op disagree, those of the first operand count.
 */
export function propagate(mesh: Mesh, program: Program, rules: ReadonlyMap<ProgramNode, Rule>, given: Wishes): Wishes {
  const wishes: Wishes = new Map(given);
  for (const node of program.nodes) {
    if (node.op !== shardingConstraintOp.definition) continue;
    const dims = dimsOfConstraint(mesh, program.values[node.outputs[0]!]!, node.params);
    for (const id of [...node.outputs, ...node.inputs]) if (!wishes.has(id)) wishes.set(id, dims);
  }
  const fixed = new Set(wishes.keys());
  const backward = [...program.nodes].reverse();
  const loose = new Map([...rules].map(([node, rule]) => [node, ruleOfReference(rule)]));
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    let count = 0;
    for (const nodes of [program.nodes, backward])
      for (const node of nodes) count += spread(mesh, node, loose.get(node)!, wishes, fixed);
    if (count === 0) break;
  }
  return wishes;
}

/** Carries wishes between the operands of a node. Gives the number of those that are new. */
function spread(mesh: Mesh, node: ProgramNode, rule: Rule, wishes: Wishes, fixed: ReadonlySet<number>): number {
  const operands: [number, Operand][] = [
    ...node.inputs.flatMap((id, i): [number, Operand][] => (id < 0 ? [] : [[id, rule.inputs[i]!]])),
    ...node.outputs.map((id, i): [number, Operand] => [id, rule.outputs[i]!]),
  ];
  const open = operands.filter(([id]) => !fixed.has(id));
  if (open.length === 0 || operands.every(([id]) => !wishes.has(id))) return 0;
  const splits: Split[] = [];
  for (const [id, operand] of operands) {
    const found = splitsOf(mesh, rule, operand, wishes.get(id) ?? []);
    // A factor is split as its first operand has it, and an axis splits one factor.
    const taken = new Set(splits.map(({ factor }) => factor));
    for (const split of found)
      if (!taken.has(split.factor) && splits.every(({ axis }) => axis !== split.axis)) splits.push(split);
  }
  const assignment = assign(mesh, rule, splits);
  if (!assignment || splits.length === 0) return 0;
  let count = 0;
  for (const [id, operand] of open) {
    const dims = dimsUnder(mesh, rule, operand, assignment);
    if (!dims || !refines(dims, wishes.get(id))) continue;
    wishes.set(id, dims);
    count++;
  }
  return count;
}

/** Whether dims split more than `before`, and what that splits in the same way. */
function refines(dims: readonly (readonly string[])[], before: readonly (readonly string[])[] | undefined): boolean {
  const keeps = dims.every((axes, i) => (before?.[i] ?? []).every((axis, k) => axes[k] === axis));
  return keeps && dims.flat().length > (before?.flat().length ?? 0);
}
