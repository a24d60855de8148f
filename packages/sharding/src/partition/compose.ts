/** Ops that are split by what they are made of: whether one is to be, and the nodes that take its place. */
import type { Aval } from "@te/tensor";
import { type Program, type ProgramNode, traceReference } from "@te/tensor/backend";
import { fail, type Operand, type Rule } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";
import { ruleOfReference, type Split, splitsOf } from "./factors.js";
import type { Layout } from "./layout.js";

type Dims = readonly (readonly string[])[];

/**
 * Whether an input lies split along a factor that only the reference can be split along. Where a result is wanted whole along
 * it, the op itself runs on what is gathered: there would be as much to gather afterwards.
 */
export function isSplitByReference(
  mesh: Mesh,
  rule: Rule,
  inputs: readonly (Layout | undefined)[],
  wishes: readonly (Dims | undefined)[],
): boolean {
  if (!Object.values(rule.factors).some(({ isComposed }) => isComposed)) return false;
  const loose = ruleOfReference(rule);
  const splits = (of: Operand | undefined, dims: Dims | undefined): Split[] =>
    of && dims ? splitsOf(mesh, loose, of, dims).filter(({ factor }) => rule.factors[factor]!.isComposed) : [];
  const isWished = ({ factor, axis }: Split): boolean =>
    rule.outputs.every(
      (of, i) =>
        !wishes[i] ||
        !of.dims.flat().includes(factor) ||
        splits(of, wishes[i]).some((split) => split.factor === factor && split.axis === axis),
    );
  return inputs.some((layout, i) => splits(rule.inputs[i], layout?.dims).some(isWished));
}

/** The nodes of a reference among those of a program, and the values that are the results of the op. */
export interface Grafted {
  readonly reference: Program;
  readonly nodes: readonly ProgramNode[];
  readonly outputs: readonly number[];
  /** The value of the program that stands for one of the reference. */
  readonly idOf: (id: number) => number;
}

/** Traces the reference of a node and numbers its values behind those of the program, to which it adds them. */
export function graft(program: Program, node: ProgramNode, avals: Aval[]): Grafted {
  const reference = traceReference(program.with({ values: avals }), node);
  if (reference.constants.length > 0)
    fail("state", node.op.name, "a reference that is split must hold no constants", reference.constants.length);
  const given = node.inputs.filter((id) => id >= 0);
  const known = new Map(reference.inputs.map((id, i) => [id, given[i]!]));
  const idOf = (id: number): number => {
    const outer = known.get(id) ?? avals.push(reference.values[id]!) - 1;
    known.set(id, outer);
    return outer;
  };
  const nodes = reference.nodes.map((inner) => ({
    ...inner,
    inputs: inner.inputs.map((id) => (id < 0 ? id : idOf(id))),
    outputs: inner.outputs.map(idOf),
  }));
  return { reference, nodes, outputs: reference.outputs.map(idOf), idOf };
}
