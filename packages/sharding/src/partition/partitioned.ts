/** A program that is split over a mesh: what every device does, as data. */
import type { Aval } from "@te/tensor";
import type { ProgramNode } from "@te/tensor/backend";
import { formatAval, formatParams, type Rule } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";
import type { Assignment } from "./factors.js";
import { countAlong, formatLayout, type Layout } from "./layout.js";
import { bytesIn, bytesSent, isSending, type Move, type Sending } from "./reshard.js";
import { collectivesOf, type ShardBody } from "./shard-body.js";
import { collectivesTogether, isTogether } from "./together.js";

/** A value with its whole shape, and how it lies over the mesh. */
export interface SplitValue {
  readonly aval: Aval;
  readonly layout: Layout;
}

/** A call of an op by every device, each on its part. */
export interface OpStep {
  readonly node: ProgramNode;
  readonly rule: Rule;
  readonly assignment: Assignment;
  /** Numbers of values; -1 for an optional input left out. */
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  /** Of a shardMap: what every device runs instead of the op, in step with the others. */
  readonly body?: ShardBody;
}

/** A value goes from one layout to another. */
export interface MoveStep {
  readonly move: Move;
  readonly input: number;
  readonly output: number;
  /** The op that asked for it, or "return". */
  readonly for: string;
  /** It was made before, and let go of. */
  readonly again: boolean;
}

/** All-reduces over the same axes, by the same reduction and of the same dtype, in one message. */
export interface JoinedStep {
  readonly moves: readonly MoveStep[];
}

export type Step = OpStep | MoveStep | JoinedStep;

/** What a program sends, step by step. */
export interface Collective {
  readonly kind: Sending["kind"];
  /** The axes of the mesh along which devices exchange, and how many exchange with each other. */
  readonly axes: readonly string[];
  readonly devices: number;
  /** Bytes of the larger of what a device gives and what it gets: all of what is gathered, scattered, reduced or exchanged. */
  readonly bytes: number;
  /** Bytes that each device sends, by the best known algorithm. */
  readonly sent: number;
  /** The ops that asked for it, with commas between, or "return". */
  readonly for: string;
}

/** A program of whole values together with how each of them is split, the calls, and what is exchanged between them. */
export class PartitionedProgram {
  constructor(
    readonly mesh: Mesh,
    readonly values: readonly SplitValue[],
    readonly inputs: readonly number[],
    readonly steps: readonly Step[],
    readonly outputs: readonly number[],
    /** Positions in `inputs` whose memory the outputs may take over. */
    readonly donated: readonly number[],
  ) {}

  /** What is exchanged, in order. */
  collectives(): Collective[] {
    return this.steps.flatMap((step): Collective[] => {
      if ("node" in step) {
        if (step.body) return collectivesOf(step.body);
        return isTogether(step) ? collectivesTogether(this.mesh, step, this.values) : [];
      }
      const moves = "moves" in step ? step.moves : [step];
      const { move } = moves[0]!;
      if (!isSending(move)) return [];
      const axes = move.kind === "all_reduce" ? move.axes : [move.axis];
      const askers = [...new Set(moves.map((each) => each.for))].join(", ");
      let [bytes, sent] = [0, 0];
      for (const { input, output, move } of moves) {
        const [from, to] = [this.values[input]!, this.values[output]!];
        bytes += Math.max(...[from, to].map(({ aval, layout }) => bytesIn(this.mesh, layout, aval)));
        sent += bytesSent(this.mesh, from.aval, from.layout, { move, layout: to.layout });
      }
      return [{ kind: move.kind, axes, devices: countAlong(this.mesh, axes), bytes, sent, for: askers }];
    });
  }

  /** The program as text, one step per line, with the layout of each value. Equal programs print equally. */
  toString(): string {
    const name = (id: number): string => (id < 0 ? "-" : `%${id}`);
    const typed = (id: number): string => {
      const { aval, layout } = this.values[id]!;
      return `${name(id)}: ${formatAval(aval)}${formatLayout(layout)}`;
    };
    const lines = this.steps.map((step) => {
      const moves = "moves" in step ? step.moves : "move" in step ? [step] : undefined;
      if (moves)
        return `  ${moves.map(({ output }) => typed(output)).join(", ")} = ${formatMove(moves[0]!.move)}(${moves.map(({ input }) => name(input)).join(", ")})`;
      const { node, inputs, outputs, body } = step as OpStep;
      const { op, params } = node;
      const options = Object.keys(params).length > 0 ? ` ${formatParams(params)}` : "";
      const within = body ? ` of ${body.program}`.replaceAll("\n", "\n  ") : "";
      return `  ${outputs.map(typed).join(", ")} = ${op.name}(${inputs.map(name).join(", ")})${options}${within}`;
    });
    const head = `program over ${this.mesh} (${this.inputs.map(typed).join(", ")}) {`;
    return [head, ...lines, `  return ${this.outputs.map(name).join(", ")}`, "}"].join("\n");
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }
}

function formatMove(move: Move): string {
  switch (move.kind) {
    case "all_reduce":
      return `all_reduce[${move.reduction} over ${move.axes.join(" ")}]`;
    case "reduce_scatter":
      return `reduce_scatter[${move.reduction} over ${move.axis}, dimension ${move.dim}]`;
    case "hold":
      return `hold[${move.axis}]`;
    case "ppermute":
      return `ppermute[${move.axis}, ${move.sources.map((from, i) => `${from} to ${move.targets[i]}`).join(", ")}]`;
    case "all_to_all":
      return `all_to_all[${move.axis}, dimension ${move.from} to ${move.to}]`;
    default:
      return `${move.kind}[${move.axis}, dimension ${move.dim}]`;
  }
}
