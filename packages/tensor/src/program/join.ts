/** Joins nodes of one kind that do not need each other into one node. */
import { expectArray, expectFunction, expectList, expectObject, expectString } from "../expect.js";
import type { OpDefinition } from "../op.js";
import { expectProgram, type Program, type ProgramNode } from "./program.js";

/** Nodes by what they can be joined with; undefined where a node stays alone. */
export type KindOf = (node: ProgramNode) => string | undefined;

/** The node that takes the place of two or more, with all of their outputs. */
export type Join = (members: readonly ProgramNode[], program: Program) => ProgramNode;

/**
 * The program with the nodes of each kind joined. Two nodes are joined where as many nodes of their kind come before the
 * one as before the other, on the longest way to it: no way leads from one to the other then, nor by another group of the
 * kind. Kinds are joined one after the other, each in the program that the last one left.
 */
export function joinNodes(program: Program, kindOf: KindOf, join: Join): Program {
  expectProgram("joinNodes", program);
  expectFunction("joinNodes", { kindOf, join });
  const kinds = new Map<string, number>();
  for (const node of program.nodes) {
    const kind = kindOf(node);
    if (kind !== undefined) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  let current = program;
  for (const [kind, count] of kinds) {
    if (count < 2) continue;
    const groups = groupByDepth(current, (node) => kindOf(node) === kind).filter(({ length }) => length > 1);
    if (groups.length > 0) current = contract(current, groups, join);
  }
  return current;
}

/** Nodes of a kind by how many of it come before them on the longest way. */
function groupByDepth(program: Program, isOfKind: (node: ProgramNode) => boolean): ProgramNode[][] {
  const depthOf = new Map<number, number>();
  const groups: ProgramNode[][] = [];
  for (const node of program.nodes) {
    const depth = node.inputs.reduce((most, id) => Math.max(most, depthOf.get(id) ?? 0), 0);
    const isMember = isOfKind(node);
    if (isMember) {
      groups[depth] ??= [];
      groups[depth].push(node);
    }
    for (const id of node.outputs) depthOf.set(id, isMember ? depth + 1 : depth);
  }
  return groups;
}

/** Puts one node in the place of each group: where its last member was, or earlier where something needs it. */
function contract(program: Program, groups: readonly (readonly ProgramNode[])[], join: Join): Program {
  const unitOf = new Map<ProgramNode, ProgramNode>();
  const lastOf = new Map<ProgramNode, ProgramNode>();
  for (const members of groups) {
    const joined = join(members, program);
    expectObject("joinNodes", { "what join returns": joined });
    expectArray("joinNodes", "values", { inputs: joined.inputs, outputs: joined.outputs });
    for (const member of members) unitOf.set(member, joined);
    lastOf.set(joined, members.at(-1)!);
  }
  const makerOf = new Map<number, ProgramNode>();
  for (const node of program.nodes) for (const id of node.outputs) makerOf.set(id, unitOf.get(node) ?? node);
  const nodes: ProgramNode[] = [];
  const emitted = new Set<ProgramNode>();
  const opened = new Set<ProgramNode>();
  for (const node of program.nodes) {
    const unit = unitOf.get(node) ?? node;
    if (unit !== node && lastOf.get(unit) !== node) continue;
    const waiting = [unit];
    for (let at = waiting.at(-1); at !== undefined; at = waiting.at(-1)) {
      if (emitted.has(at)) waiting.pop();
      else if (opened.has(at)) {
        emitted.add(at);
        nodes.push(at);
      } else {
        opened.add(at);
        for (let i = at.inputs.length - 1; i >= 0; i--) {
          const maker = makerOf.get(at.inputs[i]!);
          if (maker !== undefined) waiting.push(maker);
        }
      }
    }
  }
  return program.with({ nodes });
}

/** A pair of an operand and a result, by number. */
export type Pair = readonly [input: number, output: number];

/** A joined node, of an op that only passes make; where it can be, results lie in the memory of operands. */
export function joinedNode(
  program: Program,
  name: string,
  node: Omit<ProgramNode, "op">,
  inPlace: readonly Pair[],
): ProgramNode {
  expectProgram("joinedNode", program);
  expectString("joinedNode", { name });
  expectObject("joinedNode", { node });
  expectList("joinedNode", "values", { inputs: node.inputs, outputs: node.outputs }, Number.isInteger);
  expectList("joinedNode", "pairs", { inPlace }, (pair) => Array.isArray(pair) && pair.length === 2);
  const op: OpDefinition = {
    name,
    key: name,
    inputs: [],
    variadic: true,
    outputs: node.outputs.map((_, i) => String(i)),
    params: {},
    inPlace: sharedMemory(program, node, inPlace),
    shape: () => ({}) as never,
  };
  return { ...node, op };
}

/**
 * The pairs of operands and results of a joined node, both by number, that may share memory: those that its members allow,
 * where no other operand lies in the memory of the operand. Members run at the same time, and another would read what one
 * has written.
 */
export function sharedMemory(
  program: Program,
  node: Pick<ProgramNode, "inputs">,
  pairs: readonly Pair[],
): (readonly [string, string])[] {
  const rootOf = new Map<number, number>();
  for (const { op, inputs, outputs } of program.nodes)
    if (op.view) rootOf.set(outputs[0]!, rootOf.get(inputs[0]!) ?? inputs[0]!);
  const uses = new Map<number, number>();
  const root = (id: number): number => rootOf.get(id) ?? id;
  for (const id of node.inputs) uses.set(root(id), (uses.get(root(id)) ?? 0) + 1);
  return pairs
    .filter(([input]) => uses.get(root(node.inputs[input]!)) === 1)
    .map(([input, output]) => [String(input), String(output)] as const);
}
