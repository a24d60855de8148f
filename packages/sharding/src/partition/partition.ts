/** The partitioner: from a program of whole values to what every device of a mesh does. */
import { logLine, type Program, type ProgramNode, wantsLog } from "@te/tensor/backend";
import { addOp, fail, formatParams, type Rule, shardingRule } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";
import { shardingConstraintOp } from "../ops/sharding-constraint.js";
import { joinReductions } from "./buckets.js";
import { type Choice, choose } from "./choose.js";
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
  const rules = new Map(program.nodes.map((node) => [node, ruleOf(program, node)]));
  const wishes = propagate(mesh, program, rules, new Map());
  return program.given.map((id) => {
    const { dims, partial } = wholeLayout(program.values[id]!.shape.length);
    return { dims: wishes.get(id) ?? dims, partial };
  });
}

/** The rule of a node. What only passes make has none, and is not split. */
function ruleOf(program: Program, { op, inputs, outputs, params }: ProgramNode): Rule {
  const avals = inputs.map((id) => (id < 0 ? undefined : program.values[id]!));
  if (op.sharding) return shardingRule(op, avals, params);
  if (wantsLog("compile")) logLine(`${op.name} has no sharding rule: every device computes all of it`);
  const whole = ({ shape }: { readonly shape: readonly number[] }) => ({ shape, dims: shape.map(() => []) });
  return {
    inputs: avals.map((of) => of && whole(of)),
    outputs: outputs.map((id) => whole(program.values[id]!)),
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
  private readonly rules = new Map<ProgramNode, Rule>();
  private readonly wishes: Wishes;
  /** Values that are what was given, or a part of it. */
  private readonly given = new Set<number>();
  private at = 0;

  constructor(
    private readonly mesh: Mesh,
    private readonly program: Program,
    private readonly inputs: readonly Layout[],
    private readonly asked: readonly (Layout | undefined)[],
  ) {
    for (const node of program.nodes) this.rules.set(node, ruleOf(program, node));
    const known: Wishes = new Map();
    program.given.forEach((id, i) => {
      const { dims } = inputs[i]!;
      if (dims.some((axes) => axes.length > 0)) known.set(id, dims);
    });
    program.outputs.forEach((id, i) => {
      if (asked[i]) known.set(id, asked[i].dims);
    });
    this.wishes = propagate(mesh, program, this.rules, known);
  }

  run(): PartitionedProgram {
    const given = this.program.given.map((id, i) => {
      const value = this.add(id, this.inputs[i]!);
      this.made.set(id, value);
      this.given.add(value);
      return value;
    });
    for (const node of this.program.nodes) {
      this.at++;
      if (node.op === shardingConstraintOp.definition) this.constrain(node);
      else if (bodyOf(node.op)) this.map(node, bodyOf(node.op)!);
      else this.call(node);
    }
    const outputs = this.program.outputs.map((id, i) => {
      const { layout } = this.values[this.made.get(id)!]!;
      return this.bring(id, this.asked[i] ?? { dims: this.wishes.get(id) ?? layout.dims, partial: {} }, "return");
    });
    const steps = joinReductions(this.mesh, this.values, this.steps);
    return new PartitionedProgram(this.mesh, this.values, given, steps, outputs, this.program.donated);
  }

  private add(id: number, layout: Layout): number {
    return this.values.push({ aval: this.program.values[id]!, layout }) - 1;
  }

  private layoutOf(id: number): Layout {
    return this.values[this.made.get(id)!]!.layout;
  }

  /** The value in another layout: made now, or found where it was made before. */
  private bring(id: number, to: Layout, op: string): number {
    let value = this.made.get(id)!;
    for (const { move, layout } of planMoves(this.mesh, this.values[value]!.layout, to)) {
      const key = `${value} ${JSON.stringify(move)}`;
      const known = this.moved.get(key);
      const isFresh = known && (!known.isGathered || this.at - known.used <= GATHERED_FOR);
      if (known && isFresh) known.used = this.at;
      else {
        const output = this.add(id, layout);
        this.steps.push({ move, input: value, output, for: op, again: known !== undefined });
        const isGathered = this.given.has(value) && move.kind === "all_gather";
        if (this.given.has(value) && move.kind === "slice") this.given.add(output);
        this.moved.set(key, { value: output, used: this.at, isGathered });
      }
      value = this.moved.get(key)!.value;
    }
    return value;
  }

  /**
   * A constraint says how parts lie. Partial results go on waiting, unless an axis of theirs is to split it: whoever reads it
   * may want them scattered.
   */
  private constrain(node: ProgramNode): void {
    const [x, y] = [node.inputs[0]!, node.outputs[0]!];
    const dims = dimsOfConstraint(this.mesh, this.program.values[x]!, node.params);
    const wanted = new Set(dims.flat());
    const partial = Object.entries(this.layoutOf(x).partial).filter(([axis]) => !wanted.has(axis));
    this.made.set(y, this.bring(x, { dims, partial: Object.fromEntries(partial) }, "sharding_constraint"));
  }

  /** The parts of a shardMap are those that its specs name. */
  private map(node: ProgramNode, body: ShardBody): void {
    if (body.mesh.toString() !== this.mesh.toString())
      fail("state", "shardMap", `a function for the parts of ${body.mesh} stands in a program for ${this.mesh}`);
    const inputs = node.inputs.map((id, i) => this.bring(id, { dims: body.inputs[i]!, partial: {} }, "shard_map"));
    const outputs = node.outputs.map((id, i) => {
      const value = this.add(id, { dims: body.outputs[i]!, partial: {} });
      this.made.set(id, value);
      return value;
    });
    this.steps.push({ node, rule: this.rules.get(node)!, assignment: new Map(), inputs, outputs, body });
  }

  private call(node: ProgramNode): void {
    const rule = this.rules.get(node)!;
    const passing = this.passing(node);
    const choice = this.choose(node, rule, passing);
    const partial = passing.size === 0 ? {} : this.layoutOf(node.inputs[0]!).partial;
    const inputs = node.inputs.map((id, i) =>
      id < 0 ? -1 : this.bring(id, { dims: choice.inputs[i]!.dims, partial }, node.op.name),
    );
    // Nodes may be equal only now, where constraints were all that told them apart.
    const key = [node.op.key, inputs, formatParams(node.params), JSON.stringify([...choice.assignment])].join("|");
    const earlier = this.called.get(key);
    if (earlier) {
      node.outputs.forEach((id, i) => {
        this.made.set(id, earlier[i]!);
      });
      return;
    }
    const outputs = node.outputs.map((id, i) => {
      const { dims, partial: own } = choice.outputs[i]!;
      const value = this.add(id, { dims, partial: { ...own, ...partial } });
      this.made.set(id, value);
      return value;
    });
    this.called.set(key, outputs);
    this.steps.push({ node, rule, assignment: choice.assignment, inputs, outputs });
  }

  private choose(node: ProgramNode, rule: Rule, busy: ReadonlySet<string>): Choice {
    const { values } = this.program;
    const inputs = node.inputs.map((id) => (id < 0 ? undefined : this.layoutOf(id)));
    return choose(this.mesh, {
      rule,
      avals: {
        inputs: node.inputs.map((id) => (id < 0 ? undefined : values[id]!)),
        outputs: node.outputs.map((id) => values[id]!),
      },
      inputs: busy.size === 0 ? inputs : inputs.map((layout) => layout && { dims: layout.dims, partial: {} }),
      wishes: node.outputs.map((id) => this.wishes.get(id)),
      busy,
    });
  }

  /**
   * Axes along which partial results pass through: where a node only moves elements of its one input, and makes no more of
   * them, or adds two sums that wait for the same.
   */
  private passing({ op, inputs, outputs }: ProgramNode): ReadonlySet<string> {
    const layouts = inputs.map((id) => (id < 0 ? wholeLayout(0) : this.layoutOf(id)));
    const partial = layouts[0]?.partial ?? {};
    const axes = Object.keys(partial);
    const avals = [...inputs, ...outputs].map((id) => this.program.values[id]!);
    const isMoved = op.moves !== undefined && inputs.length === 1 && size(avals[1]!) <= size(avals[0]!);
    const isSum =
      op === addOp.definition &&
      axes.every((axis) => partial[axis] === "sum") &&
      sameLayout({ dims: [], partial }, { dims: [], partial: layouts[1]!.partial });
    return new Set(isMoved || isSum ? axes : []);
  }
}

const size = ({ shape }: { readonly shape: readonly number[] }): number => shape.reduce((n, d) => n * d, 1);
