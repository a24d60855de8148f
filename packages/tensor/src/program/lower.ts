/** From a trace to a program: values get numbers, and what no result needs is left out. */
import type { Aval } from "../aval.js";
import { fail } from "../errors.js";
import { expectList, expectNumbers } from "../expect.js";
import { Tensor } from "../tensor.js";
import { Trace } from "../trace.js";
import { Program, type ProgramConstant, type ProgramNode } from "./program.js";

/** Turns what a trace recorded into a program that computes `outputs` from `inputs`, leaving out what is not needed. */
export function lower(
  trace: Trace,
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  donated: readonly number[] = [],
): Program {
  if (!(trace instanceof Trace)) fail("option", "lower", "trace must be a Trace", trace ?? String(trace));
  expectList("lower", "tensors", { inputs, outputs }, (x) => x instanceof Tensor);
  expectNumbers("lower", { donated });
  const values: Aval[] = [];
  const ids = new Map<Tensor, number>();
  const constants: ProgramConstant[] = [];
  const define = (t: Tensor): number => {
    const id = values.push({ shape: t.shape, dtype: t.dtype }) - 1;
    ids.set(t, id);
    return id;
  };
  const inputIds = inputs.map(define);
  const nodes: ProgramNode[] = [];
  const needed = findNeeded(trace, outputs);
  const use = (t: Tensor): number => {
    const id = ids.get(t);
    if (id !== undefined) return id;
    const value = define(t);
    constants.push({ value, tensor: t, own: (t.storage?.serial ?? -1) >= trace.firstStorage });
    return value;
  };
  trace.nodes.forEach((node, index) => {
    if (!needed.has(index)) return;
    if (node.region || node.op.transparent) {
      node.outputs.forEach((out, i) => ids.set(out, use(node.inputs[i]!)));
      return;
    }
    const nodeInputs = node.inputs.map((t) => (t ? use(t) : -1));
    const { op, params, recomputed } = node;
    const lowered = { op, inputs: nodeInputs, outputs: node.outputs.map(define), params };
    nodes.push(recomputed ? { ...lowered, recomputed } : lowered);
  });
  return new Program(values, inputIds, constants, nodes, outputs.map(use), donated);
}

/** Indices of the nodes that the outputs depend on. */
function findNeeded(trace: Trace, outputs: readonly Tensor[]): Set<number> {
  const live = new Set<Tensor>(outputs);
  const needed = new Set<number>();
  for (let i = trace.nodes.length - 1; i >= 0; i--) {
    const node = trace.nodes[i]!;
    const transparent = node.region || node.op.transparent;
    let any = false;
    node.outputs.forEach((out, k) => {
      if (!live.has(out)) return;
      any = true;
      if (transparent) live.add(node.inputs[k]!);
    });
    if (!any) continue;
    needed.add(i);
    if (transparent) {
      // Outputs of a region that nobody uses still need an id when the node is lowered.
      if (node.region) for (const input of node.inputs) if (input) live.add(input);
      continue;
    }
    for (const input of node.inputs) if (input) live.add(input);
  }
  return needed;
}
