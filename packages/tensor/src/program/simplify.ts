/** A pass that removes work: equal nodes, nodes without effect, and nodes whose results nobody uses. */
import { formatParams } from "../op.js";
import { expectProgram, type Program, type ProgramNode } from "./program.js";

/**
 * Removes work that changes nothing: equal nodes are computed once, nodes that change nothing
 * disappear, nodes that nobody uses are dropped. Barriers stay until memory is planned, so that a recomputation is
 * neither merged nor fused with its original, nor run early; only those of constants go, which every place may share.
 */
export function simplify(program: Program): Program {
  expectProgram("simplify", program);
  return dropUnused(mergeEqual(program));
}

/** Visits nodes in order. `visit` returns the values that take the place of the node's outputs, or undefined to keep it. */
function rewrite(program: Program, visit: (node: ProgramNode) => readonly number[] | undefined): Program {
  const renamed = new Map<number, number>();
  const resolve = (id: number): number => renamed.get(id) ?? id;
  const nodes: ProgramNode[] = [];
  for (const original of program.nodes) {
    const node = { ...original, inputs: original.inputs.map(resolve) };
    const replacement = visit(node);
    if (replacement) node.outputs.forEach((id, i) => renamed.set(id, replacement[i]!));
    else nodes.push(node);
  }
  if (renamed.size === 0) return program;
  return program.with({ nodes, outputs: program.outputs.map(resolve) });
}

function mergeEqual(program: Program): Program {
  const seen = new Map<string, readonly number[]>();
  const constant = new Set<number>([-1]);
  return rewrite(program, (node) => {
    const isConstant = node.inputs.every((id) => constant.has(id));
    if (isNoop(program, node) || (node.op.barrier && isConstant)) return [node.inputs[0]!];
    const key = `${node.op.key}|${node.inputs.join(",")}|${formatParams(node.params)}`;
    const earlier = seen.get(key);
    if (earlier) return earlier;
    seen.set(key, node.outputs);
    if (isConstant) for (const id of node.outputs) constant.add(id);
    return undefined;
  });
}

function isNoop(program: Program, node: ProgramNode): boolean {
  const input = program.values[node.inputs[0] ?? -1];
  const output = program.values[node.outputs[0]!]!;
  return input !== undefined && node.op.changesNothing?.(input, output, node.params) === true;
}

/** Leaves out nodes whose results nobody uses. */
export function dropUnused(program: Program): Program {
  expectProgram("dropUnused", program);
  const live = new Set(program.outputs);
  const kept: ProgramNode[] = [];
  for (let i = program.nodes.length - 1; i >= 0; i--) {
    const node = program.nodes[i]!;
    if (!node.outputs.some((id) => live.has(id))) continue;
    for (const id of node.inputs) live.add(id);
    kept.push(node);
  }
  const constants = program.constants.filter((c) => live.has(c.value));
  if (kept.length === program.nodes.length && constants.length === program.constants.length) return program;
  return program.with({ nodes: kept.reverse(), constants });
}
