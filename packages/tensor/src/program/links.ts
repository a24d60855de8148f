/** Who makes and who reads the values of a program: what passes ask that match several nodes and write others instead. */
import type { Aval } from "../aval.js";
import { fail } from "../errors.js";
import { expectArray } from "../expect.js";
import { expectProgram, type Program, type ProgramNode } from "./program.js";
import { dropUnused } from "./simplify.js";

/** The makers and readers of a program's values. */
export class Links {
  private readonly producers = new Map<number, ProgramNode>();
  private readonly users = new Map<number, ProgramNode[]>();
  private readonly places = new Map<ProgramNode, number>();
  private readonly outputs: ReadonlySet<number>;

  constructor(program: Program) {
    expectProgram("Links", program);
    this.outputs = new Set(program.outputs);
    program.nodes.forEach((node, place) => {
      this.places.set(node, place);
      for (const id of node.outputs) this.producers.set(id, node);
      for (const id of new Set(node.inputs)) {
        const users = this.users.get(id);
        if (users) users.push(node);
        else this.users.set(id, [node]);
      }
    });
  }

  /** The node that makes a value; undefined for inputs and constants. */
  producerOf(value: number): ProgramNode | undefined {
    return this.producers.get(value);
  }

  /** The nodes that read a value, in order. */
  usersOf(value: number): readonly ProgramNode[] {
    return this.users.get(value) ?? [];
  }

  /** The one node that reads a value; undefined where there are others, or the program returns it. */
  onlyUserOf(value: number): ProgramNode | undefined {
    const users = this.usersOf(value);
    return users.length === 1 && !this.outputs.has(value) ? users[0] : undefined;
  }

  /** Whether a node comes before another. */
  isBefore(a: ProgramNode, b: ProgramNode): boolean {
    return this.places.get(a)! < this.places.get(b)!;
  }
}

/**
 * The program with other nodes in the places of some. They make the values of those under the same numbers; what they make
 * besides stands at the end of `values`. Nodes that nobody reads any more go. The program itself where there is nothing to
 * replace.
 */
export function replaceNodes(
  program: Program,
  replaced: ReadonlyMap<ProgramNode, readonly ProgramNode[]>,
  values?: readonly Aval[],
): Program {
  expectProgram("replaceNodes", program);
  if (!(replaced instanceof Map))
    fail("option", "replaceNodes", "replaced must be a Map of nodes", replaced ?? String(replaced));
  if (values !== undefined) expectArray("replaceNodes", "shapes and dtypes", { values });
  if (replaced.size === 0) return program;
  const nodes = program.nodes.flatMap((node) => replaced.get(node) ?? [node]);
  return dropUnused(program.with({ nodes, values: values ?? program.values }));
}
