/** The partitioner: from a program of whole values to what every device of a mesh does. */
import type { Aval } from "@te/tensor";
import { logLine, type Program, type ProgramNode, wantsLog } from "@te/tensor/backend";
import { addOp, fail, formatParams, type Rule, shardingRule } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";
import { shardingConstraintOp } from "../ops/sharding-constraint.js";
import { joinReductions } from "./buckets.js";
import { type Choice, choose } from "./choose.js";
import { graft, isSplitByReference } from "./compose.js";
import { dimsOfConstraint } from "./constraint-dims.js";
import { type Layout, sameLayout, wholeLayout } from "./layout.js";
import { PartitionedProgram, type SplitValue, type Step } from "./partitioned.js";
import { propagate, type Wishes } from "./propagate.js";
import { planMoves } from "./reshard.js";
import { bodyOf, type ShardBody } from "./shard-body.js";

/**
 * A gathered input is freed after its use. A use further on than so many nodes gathers it again, as that of a weight in the
 * backward pass.
 */
const GATHERED_FOR = 24;

/**
 * Splits a program over a mesh. `inputs` are the layouts of its given values, inputs and constants; `outputs` those that its
 * results must have, where it matters. Layouts follow from these and from constraints; collectives stand where rules of ops
 * disagree with them, as late as may be.
 */
export function partition(
  mesh: Mesh,
  program: Program,
  inputs: readonly Layout[],
  outputs: readonly (Layout | undefined)[] = [],
): PartitionedProgram {
  return new Partitioner(mesh, program, inputs, outputs).run();
}

/** How given values of a program lie where its constraints alone decide: the rules of ops carry these to its inputs. */
export function suggestLayouts(mesh: Mesh, program: Program): Layout[] {
  const wishes = propagate(mesh, program, rulesOf(program.nodes, program.values), new Map());
  return program.given.map((id) => {
    const { dims, partial } = wholeLayout(program.values[id]!.shape.length);
    return { dims: wishes.get(id) ?? dims, partial };
  });
}

const rulesOf = (nodes: readonly ProgramNode[], values: readonly Aval[]): Map<ProgramNode, Rule> =>
  new Map(nodes.map((node) => [node, ruleOf(values, node)]));

/** The rule of a node. What only passes make has none, and is not split. */
function ruleOf(values: readonly Aval[], { op, inputs, outputs, params }: ProgramNode): Rule {
  const avals = inputs.map((id) => (id < 0 ? undefined : values[id]!));
  if (op.sharding) return shardingRule(op, avals, params);
  if (wantsLog("compile")) logLine(`${op.name} has no sharding rule: every device computes all of it`);
  const whole = ({ shape }: { readonly shape: readonly number[] }) => ({ shape, dims: shape.map(() => []) });
  return {
    inputs: avals.map((of) => of && whole(of)),
    outputs: outputs.map((id) => whole(values[id]!)),
    factors: {},
  };
}

class Partitioner {
  private readonly values: SplitValue[] = [];
  private readonly steps: Step[] = [];
  /** The value that stands for a value of the program, as its maker left it. */
  private readonly made = new Map<number, number>();
  /** Other layouts of it: the value, and the node that used it last. */
  private readonly moved = new Map<string, { readonly value: number; used: number; readonly isGathered: boolean }>();
  /** The results of calls, by op, inputs, parameters and split. */
  private readonly called = new Map<string, readonly number[]>();
  /** Values of the program, then those of references that take the place of their ops. */
  private readonly avals: Aval[];
  private readonly rules: Map<ProgramNode, Rule>;
