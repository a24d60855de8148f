/** Programs: flat lists of nodes over numbered values, which passes rewrite and devices compile. */
import { type Aval, formatAval } from "../aval.js";
import type { NodeSpec } from "../backend.js";
import { fail } from "../errors.js";
import { expectArray, expectObject, expectString } from "../expect.js";
import { formatParams, type OpDefinition, type Params } from "../op.js";
import type { Tensor } from "../tensor.js";

/** A concrete tensor that a traced function captured. */
export interface ProgramConstant {
  readonly value: number;
  readonly tensor: Tensor;
  /** The function made it itself. */
  readonly own: boolean;
}

/** One op application over numbered values; -1 stands for an optional input left out. */
export interface ProgramNode {
  readonly op: OpDefinition;
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  readonly params: Params;
  /** Computes again, for a backward pass, what a checkpointed function did not keep. */
  readonly recomputed?: boolean;
}

const PROGRAM = Symbol.for("te.program");

/**
 * A flat list of ops over typed, shaped values. `inputs` are the values given at each run; they are followed by
 * `constants`, concrete tensors that the traced function captured. Nodes are in execution order.
 */
export class Program {
  constructor(
    readonly values: readonly Aval[],
    readonly inputs: readonly number[],
    readonly constants: readonly ProgramConstant[],
    readonly nodes: readonly ProgramNode[],
    readonly outputs: readonly number[],
    /** Positions in `inputs` whose memory the outputs may take over. */
    readonly donated: readonly number[] = [],
    /** Of the function or the op that it computes, for messages. Equal programs may differ in it. */
    readonly name: string = "a function without a name",
  ) {
    expectString("Program", { name });
    expectArray("Program", "entries", { values, inputs, constants, nodes, outputs, donated });
  }

  /** @internal */
  get [PROGRAM](): true {
    return true;
  }

  /** Values that come from outside: inputs, then constants. */
  get given(): number[] {
    return [...this.inputs, ...this.constants.map((c) => c.value)];
  }

  with(changes: Partial<Pick<Program, "values" | "nodes" | "outputs" | "constants">>): Program {
    expectObject("Program.with", { changes });
    return new Program(
      changes.values ?? this.values,
      this.inputs,
      changes.constants ?? this.constants,
      changes.nodes ?? this.nodes,
      changes.outputs ?? this.outputs,
      this.donated,
      this.name,
    );
  }

  named(name: string): Program {
    const { values, inputs, constants, nodes, outputs, donated } = this;
    return new Program(values, inputs, constants, nodes, outputs, donated, name || undefined);
  }

  spec(node: ProgramNode): NodeSpec {
    expectObject("Program.spec", { node, "node.op": node?.op });
    expectArray("Program.spec", "numbers of values", { inputs: node.inputs, outputs: node.outputs });
    return {
      op: node.op.name,
      inputs: node.inputs.map((id) => (id < 0 ? null : this.values[id]!)),
      outputs: node.outputs.map((id) => this.values[id]!),
      params: node.params,
    };
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  /** The program as text, one op per line. Equal programs print equally. */
  toString(): string {
    const name = (id: number) => (id < 0 ? "-" : `%${id}`);
    const typed = (id: number) => `${name(id)}: ${formatAval(this.values[id]!)}`;
    const donated = new Set(this.donated);
    const head = [
      ...this.inputs.map((id, i) => (donated.has(i) ? `donated ${typed(id)}` : typed(id))),
      ...this.constants.map((c) => `constant ${typed(c.value)}`),
    ];
    const lines = this.nodes.map((node) => {
      const options = Object.keys(node.params).length ? ` ${formatParams(node.params)}` : "";
      const again = node.recomputed ? " recomputed" : "";
      return `  ${node.outputs.map(typed).join(", ")} = ${node.op.key}(${node.inputs.map(name).join(", ")})${options}${again}`;
    });
    return [`program(${head.join(", ")}) {`, ...lines, `  return ${this.outputs.map(name).join(", ")}`, "}"].join("\n");
  }
}

/** Throws unless the value is a program, of this copy of the package or of another that shares its devices. */
export function expectProgram(fn: string, program: Program): void {
  if (typeof program !== "object" || program === null || !(PROGRAM in program))
    fail("option", fn, "program must be a Program", program ?? String(program), "makeProgram(f)(...args) gives one.");
}
