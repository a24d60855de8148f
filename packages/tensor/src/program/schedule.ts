/** A pass that puts off recomputation until its values are needed. */
import type { Program, ProgramNode } from "./program.js";

/**
 * Runs recomputed nodes as late as can be: right before the first node that needs them, so that their values hold memory
 * only around their use. Everything else keeps its order, and so do recomputed nodes that are needed at one place.
 */
export function scheduleRecomputation(program: Program): Program {
  /** Recomputed values, and barriers on the way to them, with the positions of the nodes that make them. */
  const makerOf = new Map<number, number>();
  program.nodes.forEach((node, i) => {
    if (node.recomputed || node.op.barrier) for (const id of node.outputs) makerOf.set(id, i);
  });
  if (makerOf.size === 0) return program;
  const nodes: ProgramNode[] = [];
  const emitted = new Set<number>();
  const emitNeeded = (ids: readonly number[]): void => {
    const waiting = [...ids];
    const needed: number[] = [];
    for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
      const maker = makerOf.get(id);
      if (maker === undefined || emitted.has(maker)) continue;
      emitted.add(maker);
      needed.push(maker);
      for (const input of program.nodes[maker]!.inputs) waiting.push(input);
    }
    for (const index of needed.sort((a, b) => a - b)) nodes.push(program.nodes[index]!);
  };
  for (const node of program.nodes) {
    if (makerOf.has(node.outputs[0]!)) continue;
    emitNeeded(node.inputs);
    nodes.push(node);
  }
  emitNeeded(program.outputs);
  return program.with({ nodes });
}
