/** A program as the native executor takes it: planned, with a place for each value. */
import { planMemory } from "../program/plan-memory.js";
import type { Program } from "../program/program.js";
import type { NativeProgram } from "./addon.js";

const KIND = { input: 0, arena: 1, output: 2 } as const;

/** What the native executor needs of a program. */
export function describeProgram(program: Program): NativeProgram {
  const plan = planMemory(program);
  const values: NativeProgram["values"][number][] = [];
  const index = plan.locations.map((location, id) => {
    if (!location) return -1;
    const { dtype, shape } = plan.program.values[id]!;
    return values.push({ dtype, shape, kind: KIND[location.kind], at: location.at }) - 1;
  });
  const place = (id: number): number => (id < 0 ? -1 : index[id]!);
  return {
    values,
    nodes: plan.program.nodes.map((node) => ({
      op: node.op.name,
      inputs: node.inputs.map(place),
      outputs: node.outputs.map(place),
      params: node.params,
    })),
    inputs: plan.program.given.length,
    outputs: plan.program.outputs.map((id, j) => ({ value: place(id), alias: plan.aliases[j]! })),
    donated: plan.program.donated,
    arenaBytes: plan.arenaBytes,
  };
}
