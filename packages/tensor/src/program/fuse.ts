/**
 * Fuses elementwise nodes of one shape into `elementwise` nodes, whose parameter `code` is a list of instructions over
 * registers: %0, %1, … are the inputs, every instruction appends one register. Each instruction rounds to its dtype, so
 * a fused chain gives the same bits as its ops one by one.
 */
import { sameShape } from "../aval.js";
import { formatNumber, type OpDefinition, type ParamValue } from "../op.js";
import type { Program, ProgramNode } from "./program.js";

const MAX_INPUTS = 16;
const MAX_INSTRUCTIONS = 96;

/** The op that fused nodes carry. Only passes make it; it is not in the registry. */
export const elementwiseOp: OpDefinition = {
  name: "elementwise",
  inputs: [],
  variadic: true,
  outputs: ["y"],
  params: { code: [], outputs: [] },
  shape: () => ({}) as never,
};

interface Group {
  readonly members: number[];
  readonly shape: readonly number[];
}

const isFusable = (node: ProgramNode): boolean => node.op.elementwise === true;
/** Folded into the groups that use them instead of being computed: constants and broadcasts. */
const isFoldable = (node: ProgramNode): boolean => node.op.name === "fill" || node.op.name === "broadcast_to";

/** Joins chains of elementwise ops into single nodes. */
export function fuseElementwise(program: Program): Program {
  const producer = new Map<number, number>();
  program.nodes.forEach((node, i) => node.outputs.forEach((id) => producer.set(id, i)));
  const groupOf = formGroups(program, producer);
  return schedule(program, producer, groupOf);
}

function formGroups(program: Program, producer: Map<number, number>): Map<number, Group> {
  const groupOf = new Map<number, Group>();
  const reach = (from: number, target: Group, first: number, seen: Set<number | Group>): boolean => {
    // Is `target` an ancestor of node `from`, walking whole groups at a time?
    const group = groupOf.get(from);
    if (group === target) return true;
    const unit = group ?? from;
    if (seen.has(unit)) return false;
    seen.add(unit);
    const members = group ? group.members : [from];
    if (members[members.length - 1]! < first) return false;
    return members.some((m) =>
      program.nodes[m]!.inputs.some((id) => {
        const p = producer.get(id);
        return p !== undefined && (groupOf.get(p) !== group || group === undefined) && reach(p, target, first, seen);
      }),
    );
  };
  program.nodes.forEach((node, index) => {
    if (!isFusable(node)) return;
    const shape = program.values[node.outputs[0]!]!.shape;
    const candidates = new Set<Group>();
    for (const id of node.inputs) {
      const p = producer.get(id);
      const group = p === undefined ? undefined : groupOf.get(p);
      if (group && sameShape(group.shape, shape)) candidates.add(group);
    }
    let own: Group | undefined;
    for (const group of candidates) {
      const joined = [...(own?.members ?? []), ...group.members, index];
      if (!fits(program, producer, joined)) continue;
      const outside = [...(own?.members ?? []), index];
      const indirect = (members: number[], target: Group) =>
        members.some((m) =>
          program.nodes[m]!.inputs.some((id) => {
            const p = producer.get(id);
            if (p === undefined) return false;
            const g = groupOf.get(p);
            if (g === target || (g !== undefined && g === own)) return false;
            return reach(p, target, target.members[0]!, new Set<number | Group>());
          }),
        );
      if (indirect(outside, group) || (own && indirect(group.members, own))) continue;
      own = { members: joined.filter((m) => m !== index), shape };
      for (const m of own.members) groupOf.set(m, own);
    }
    const final: Group = { members: [...(own?.members ?? []), index].sort((a, b) => a - b), shape };
    for (const m of final.members) groupOf.set(m, final);
  });
  return groupOf;
}

function fits(program: Program, producer: Map<number, number>, members: readonly number[]): boolean {
  const inside = new Set(members);
  const inputs = new Set<number>();
  for (const m of members) {
    for (const id of program.nodes[m]!.inputs) {
      const p = producer.get(id);
      if (p === undefined || !inside.has(p)) inputs.add(id);
    }
  }
  return inputs.size <= MAX_INPUTS && members.length <= MAX_INSTRUCTIONS;
}

/** Emits groups and single nodes so that everything comes after what it needs, else in program order. */
function schedule(program: Program, producer: Map<number, number>, groupOf: Map<number, Group>): Program {
  const usersOf = new Map<number, number[]>();
  program.nodes.forEach((node, i) => {
    for (const id of node.inputs) usersOf.set(id, [...(usersOf.get(id) ?? []), i]);
  });
  const isOutput = new Set(program.outputs);
  const done = new Set<number>();
  const nodes: ProgramNode[] = [];
  const emit = (index: number): void => {
    if (done.has(index)) return;
    const group = groupOf.get(index);
    const members = group ? group.members : [index];
    for (const m of members) done.add(m);
    for (const m of members) {
      for (const id of program.nodes[m]!.inputs) {
        const p = producer.get(id);
        if (p !== undefined) emit(p);
      }
    }
    nodes.push(group ? fusedNode(program, producer, group, usersOf, isOutput) : program.nodes[index]!);
  };
  const last = (i: number) => groupOf.get(i)?.members.at(-1) ?? i;
  program.nodes.forEach((_, i) => {
    if (last(i) === i) emit(i);
  });
  return dropFolded(program.with({ nodes }));
}

function fusedNode(
  program: Program,
  producer: Map<number, number>,
  group: Group,
  usersOf: Map<number, number[]>,
  isOutput: Set<number>,
): ProgramNode {
  const inside = new Set(group.members);
  const inputs: number[] = [];
  const registers = new Map<number, number>();
  const constants: { id: number; text: string }[] = [];
  const collect = (id: number): void => {
    if (registers.has(id)) return;
    const p = producer.get(id);
    if (p !== undefined && inside.has(p)) return;
    const made = p === undefined ? undefined : program.nodes[p]!;
    if (made?.op.name === "fill") {
      constants.push({ id, text: `const ${program.values[id]!.dtype} ${formatNumber(made.params.value as number)}` });
      registers.set(id, -1);
      return;
    }
    const source = made && isFoldable(made) ? made.inputs[0]! : id;
    let at = inputs.indexOf(source);
    if (at < 0) at = inputs.push(source) - 1;
    registers.set(id, at);
  };
  for (const m of group.members) for (const id of program.nodes[m]!.inputs) collect(id);
  const code: string[] = [];
  for (const c of constants) registers.set(c.id, inputs.length + code.push(c.text) - 1);
  for (const m of group.members) {
    const node = program.nodes[m]!;
    const operands = node.inputs.map((id) => `%${registers.get(id)!}`).join(" ");
    const name = node.op.name === "cast" && node.params.saturate ? "cast_saturate" : node.op.name;
    registers.set(
      node.outputs[0]!,
      inputs.length + code.push(`${name} ${program.values[node.outputs[0]!]!.dtype} ${operands}`) - 1,
    );
  }
  const outputs = group.members
    .map((m) => program.nodes[m]!.outputs[0]!)
    .filter((id) => isOutput.has(id) || (usersOf.get(id) ?? []).some((u) => !inside.has(u)));
  const params: Record<string, ParamValue> = { code, outputs: outputs.map((id) => registers.get(id)!) };
  return { op: elementwiseOp, inputs, outputs, params };
}

/** Drops the fills and broadcasts that every user folded in. */
function dropFolded(program: Program): Program {
  const used = new Set(program.outputs);
  for (const node of program.nodes) for (const id of node.inputs) used.add(id);
  return program.with({ nodes: program.nodes.filter((n) => !isFoldable(n) || n.outputs.some((id) => used.has(id))) });
}
