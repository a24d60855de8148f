/**
 * Fuses elementwise nodes of one shape into `elementwise` nodes, whose parameter `code` is a list of instructions over
 * registers: %0, %1, … are the inputs, every instruction appends one register. Each instruction rounds to its dtype, so
 * a fused chain gives the same bits as its ops one by one.
 */
import { sameShape } from "../aval.js";
import { expectObject } from "../expect.js";
import { formatNumber, type OpDefinition, type Params, type ParamValue } from "../op.js";
import { expectProgram, type Program, type ProgramNode } from "./program.js";
import { dropUnused } from "./simplify.js";

const MAX_INPUTS = 16;
const MAX_INSTRUCTIONS = 96;

/** The op that fused nodes carry. Only passes make it; it is not in the registry. */
export const elementwiseOp: OpDefinition = {
  name: "elementwise",
  key: "elementwise",
  inputs: [],
  variadic: true,
  outputs: ["y"],
  params: { code: [], outputs: [] },
  shape: () => ({}) as never,
};

/** Operands that a search for a path around a group looks at before it gives up, and the group is left alone. */
const MAX_SEARCH = 512;

/** Nodes that become one. */
interface Group {
  /** In program order. */
  members: number[];
  readonly shape: readonly number[];
  /** Values that the members read and do not make. */
  inputs: Set<number>;
}

const isFusable = (node: ProgramNode): boolean => node.op.elementwise !== undefined;

/** The instruction that computes an elementwise op. */
export function instructionOf(op: OpDefinition, params: Params): string {
  expectObject("instructionOf", { op, params });
  return typeof op.elementwise === "function" ? op.elementwise(params) : op.name;
}

/** Joins chains of elementwise ops into single nodes. */
export function fuseElementwise(program: Program): Program {
  expectProgram("fuseElementwise", program);
  const producer = new Map<number, number>();
  program.nodes.forEach((node, i) => node.outputs.forEach((id) => producer.set(id, i)));
  const groups = new Groups(program, producer);
  program.nodes.forEach((node, i) => {
    if (isFusable(node)) groups.place(i);
  });
  return dropUnused(emit(program, producer, groups));
}

/** Elementwise nodes in groups, which a node joins where its operands are made, if that closes no cycle. */
class Groups {
  private readonly groupOf = new Map<number, Group>();

  constructor(
    private readonly program: Program,
    private readonly producer: ReadonlyMap<number, number>,
  ) {}

  /** The group of a node, or the node where it is in none. */
  unit(node: number): Group | number {
    return this.groupOf.get(node) ?? node;
  }

  private groupThatMakes(id: number): Group | undefined {
    return this.groupOf.get(this.producer.get(id) ?? -1);
  }

  /** Gives the next node of the program its group. */
  place(node: number): void {
    const { inputs, outputs } = this.program.nodes[node]!;
    const { shape } = this.program.values[outputs[0]!]!;
    let own: Group = { members: [node], shape, inputs: new Set(inputs) };
    this.groupOf.set(node, own);
    for (const group of new Set(inputs.map((id) => this.groupThatMakes(id)))) {
      if (!group || group === own || !sameShape(group.shape, shape)) continue;
      const joined = this.inputsOfBoth(own, group);
      if (joined.size > MAX_INPUTS || own.members.length + group.members.length > MAX_INSTRUCTIONS) continue;
      if (this.hasDetour(own, group) || this.hasDetour(group, own)) continue;
      own = this.join(group, own, joined);
    }
  }

  private inputsOfBoth(a: Group, b: Group): Set<number> {
    const inputs = new Set<number>();
    for (const { inputs: ids } of [a, b]) {
      for (const id of ids) {
        const group = this.groupThatMakes(id);
        if (group !== a && group !== b) inputs.add(id);
      }
    }
    return inputs;
  }

  private join(group: Group, more: Group, inputs: Set<number>): Group {
    const inOrder = more.members[0]! > group.members.at(-1)!;
    group.members.push(...more.members);
    if (!inOrder) group.members.sort((a, b) => a - b);
    group.inputs = inputs;
    for (const m of more.members) this.groupOf.set(m, group);
    return group;
  }

  /** Whether something outside of both groups stands between them: `from` needs it, and it needs `target`. */
  private hasDetour(from: Group, target: Group): boolean {
    const first = target.members[0]!;
    if (from.members.at(-1)! < first) return false;
    const seen = new Set<Group | number>([from]);
    const waiting: (Group | number)[] = [from];
    let looked = 0;
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      for (const id of typeof at === "number" ? this.program.nodes[at]!.inputs : at.inputs) {
        if (++looked > MAX_SEARCH) return true;
        const made = this.producer.get(id);
        if (made === undefined) continue;
        const unit = this.unit(made);
        if (unit === target && at !== from) return true;
        if (unit === target || seen.has(unit)) continue;
        seen.add(unit);
        // What comes before the target needs nothing of it.
        if ((typeof unit === "number" ? unit : unit.members.at(-1)!) >= first) waiting.push(unit);
      }
    }
    return false;
  }
}

/** Emits groups and single nodes so that everything comes after what it needs, else in program order. */
function emit(program: Program, producer: ReadonlyMap<number, number>, groups: Groups): Program {
  const usersOf = findUsers(program);
  const isOutput = new Set(program.outputs);
  const nodes: ProgramNode[] = [];
  const emitted = new Set<Group | number>();
  const opened = new Set<Group | number>();
  const emitWithOperands = (last: Group | number): void => {
    const waiting = [last];
    for (let unit = waiting.at(-1); unit !== undefined; unit = waiting.at(-1)) {
      if (emitted.has(unit)) waiting.pop();
      else if (opened.has(unit)) {
        nodes.push(
          typeof unit === "number" ? program.nodes[unit]! : fusedNode(program, producer, unit, usersOf, isOutput),
        );
        emitted.add(unit);
      } else {
        opened.add(unit);
        const ids = typeof unit === "number" ? program.nodes[unit]!.inputs : [...unit.inputs];
        for (let i = ids.length - 1; i >= 0; i--) {
          const made = producer.get(ids[i]!);
          if (made !== undefined) waiting.push(groups.unit(made));
        }
      }
    }
  };
  program.nodes.forEach((_, i) => {
    const unit = groups.unit(i);
    if (typeof unit === "number" || unit.members.at(-1) === i) emitWithOperands(unit);
  });
  return program.with({ nodes });
}

function findUsers(program: Program): ReadonlyMap<number, readonly number[]> {
  const usersOf = new Map<number, number[]>();
  program.nodes.forEach((node, i) => {
    for (const id of node.inputs) {
      const users = usersOf.get(id);
      if (users) users.push(i);
      else usersOf.set(id, [i]);
    }
  });
  return usersOf;
}

function fusedNode(
  program: Program,
  producer: ReadonlyMap<number, number>,
  group: Group,
  usersOf: ReadonlyMap<number, readonly number[]>,
  isOutput: ReadonlySet<number>,
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
    if (made?.op.folds === "constant") {
      constants.push({ id, text: `const ${program.values[id]!.dtype} ${formatNumber(made.params.value as number)}` });
      registers.set(id, -1);
      return;
    }
    const source = made?.op.folds === "broadcast" ? made.inputs[0]! : id;
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
    const name = instructionOf(node.op, node.params);
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
