/** A pass that moves cheap checks of values to the front, so that the rest may write over donated memory. */
import { byteSize } from "../aval.js";
import type { Program } from "./program.js";

/** Nodes that a check needs are moved where together they make no more than this. */
const MOVED_BYTES = 2 ** 20;

/**
 * Runs checks of values, such as those of positions and indices, before everything else where little is needed for them:
 * what comes after the last check may write over donated memory. Programs without donated inputs stay as they are.
 */
export function checksFirst(program: Program): Program {
  if (program.donated.length === 0) return program;
  const maker = new Map<number, number>();
  program.nodes.forEach((node, i) => {
    for (const id of node.outputs) maker.set(id, i);
  });
  const early = new Set<number>();
  program.nodes.forEach((node, i) => {
    if (node.op.checks) for (const index of needed(program, maker, i)) early.add(index);
  });
  if (early.size === 0) return program;
  const [first, then] = [true, false].map((wanted) => program.nodes.filter((_, i) => early.has(i) === wanted));
  return program.with({ nodes: [...first!, ...then!] });
}

/** A node and all that it needs; nothing where that is too much. */
function needed(program: Program, maker: ReadonlyMap<number, number>, index: number): Set<number> {
  const found = new Set([index]);
  let bytes = 0;
  for (const i of found) {
    const { inputs, outputs } = program.nodes[i]!;
    for (const id of outputs) bytes += byteSize(program.values[id]!);
    if (bytes > MOVED_BYTES) return new Set();
    for (const id of inputs) if (maker.has(id)) found.add(maker.get(id)!);
  }
  return found;
}
