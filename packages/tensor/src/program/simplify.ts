import { sameAval, sameShape } from "../aval.js";
import { formatParams } from "../op.js";
import type { Program, ProgramNode } from "./program.js";

/**
 * Removes work that changes nothing: equal nodes are computed once, casts, reshapes and transposes that do nothing
 * disappear, nodes that nobody uses are dropped. A barrier keeps a recomputation apart from its original and then
 * disappears itself.
 */
export function simplify(program: Program): Program {
  return dropUnused(removeBarriers(mergeEqual(program)));
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
  return program.with({ nodes, outputs: program.outputs.map(resolve) });
}

function mergeEqual(program: Program): Program {
  const seen = new Map<string, readonly number[]>();
  return rewrite(program, (node) => {
    if (isNoop(program, node)) return [node.inputs[0]!];
    if (node.op.name === "barrier") return undefined;
    const key = `${node.op.name}|${node.inputs.join(",")}|${formatParams(node.params)}`;
    const earlier = seen.get(key);
    if (!earlier) seen.set(key, node.outputs);
    return earlier;
  });
}

function isNoop(program: Program, node: ProgramNode): boolean {
  const input = program.values[node.inputs[0] ?? -1];
  const output = program.values[node.outputs[0]!]!;
  if (!input) return false;
  switch (node.op.name) {
    case "cast":
    case "bitcast":
    case "reshape":
    case "broadcast_to":
      return sameAval(input, output);
    case "transpose":
      return (node.params.perm as readonly number[]).every((axis, i) => axis === i);
    case "slice":
      return sameShape(input.shape, output.shape);
    default:
      return false;
  }
}

const removeBarriers = (program: Program): Program =>
  rewrite(program, (node) => (node.op.name === "barrier" ? [node.inputs[0]!] : undefined));

export function dropUnused(program: Program): Program {
  const live = new Set(program.outputs);
  const kept: ProgramNode[] = [];
  for (let i = program.nodes.length - 1; i >= 0; i--) {
    const node = program.nodes[i]!;
    if (!node.outputs.some((id) => live.has(id))) continue;
    for (const id of node.inputs) live.add(id);
    kept.push(node);
  }
  return program.with({
    nodes: kept.reverse(),
    constants: program.constants.filter((c) => live.has(c.value)),
  });
}
