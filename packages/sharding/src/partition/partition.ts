/** The partitioner: from a program of whole values to what every device of a mesh does. */
import type { Aval } from "@te/tensor";
import { byteSize, expectProgram, logLine, type Program, type ProgramNode, wantsLog } from "@te/tensor/backend";
import { expectArray, fail, formatParams, type Rule, shardingRule } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";
import { shardingConstraintOp } from "../ops/sharding-constraint.js";
import { joinReductions, madeBy, readBy } from "./buckets.js";
import { expectLayoutFor, expectMesh } from "./check.js";
import { type Choice, choose } from "./choose.js";
import { graft, isSplitByReference } from "./compose.js";
import { dimsOfConstraint } from "./constraint-dims.js";
import { type Layout, wholeLayout } from "./layout.js";
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
 * disagree with them, as late as may be. Throws unless there is a layout for each given value, which divides it evenly.
 */
export function partition(
  mesh: Mesh,
  program: Program,
  inputs: readonly Layout[],
  outputs: readonly (Layout | undefined)[] = [],
): PartitionedProgram {
  expectMesh("partition", mesh);
  expectProgram("partition", program);
  expectArray("partition", "layouts", { inputs, outputs });
  const { given, values } = program;
  if (inputs.length !== given.length)
    fail("option", "partition", `inputs must be ${given.length} layouts, one for each given value`, inputs.length);
  if (outputs.length > program.outputs.length)
    fail("option", "partition", `outputs must be at most ${program.outputs.length} layouts`, outputs.length);
  for (const [i, id] of given.entries())
    expectLayoutFor("partition", mesh, inputs[i]!, values[id]!.shape, `inputs[${i}]`);
  for (const [i, id] of program.outputs.entries())
    if (outputs[i] !== undefined) expectLayoutFor("partition", mesh, outputs[i], values[id]!.shape, `outputs[${i}]`);
  return new Partitioner(mesh, program, inputs, outputs).run();
}

/** How given values of a program lie where its constraints alone decide: the rules of ops carry these to its inputs. */
export function suggestLayouts(mesh: Mesh, program: Program): Layout[] {
  expectMesh("suggestLayouts", mesh);
  expectProgram("suggestLayouts", program);
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
  /** How often values are still to be read. */
  private readonly unread = new Map<number, number>();
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
    this.avals = [...program.values];
    this.rules = rulesOf(program.nodes, program.values);
    this.count([...program.nodes.flatMap(({ inputs }) => inputs), ...program.outputs]);
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
    for (const node of this.program.nodes) this.visit(node);
    const outputs = this.program.outputs.map((id, i) => {
      const { layout } = this.values[this.made.get(id)!]!;
      return this.bring(id, this.asked[i] ?? { dims: this.wishes.get(id) ?? layout.dims, partial: {} }, "return");
    });
    const steps = joinReductions(this.mesh, this.values, needed(this.steps, outputs));
    return new PartitionedProgram(this.mesh, this.values, given, steps, outputs, this.program.donated);
  }

  private visit(node: ProgramNode): void {
    this.at++;
    for (const id of node.inputs) this.unread.set(id, (this.unread.get(id) ?? 0) - 1);
    if (node.op === shardingConstraintOp.definition) this.constrain(node);
    else if (bodyOf(node.op)) this.map(node, bodyOf(node.op)!);
    else if (this.isComposed(node)) this.compose(node);
    else this.call(node);
  }

  private count(read: readonly number[]): void {
    for (const id of read) this.unread.set(id, (this.unread.get(id) ?? 0) + 1);
  }

  private add(id: number, layout: Layout): number {
    return this.values.push({ aval: this.avals[id]!, layout }) - 1;
  }

  private layoutOf(id: number): Layout {
    return this.values[this.made.get(id)!]!.layout;
  }

  /**
   * The value in another layout: made now, or found where it was made before. Partial results that are combined for one reader
   * are so for those that follow.
   */
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
      if ("reduction" in move) this.made.set(id, value);
    }
    return value;
  }

  /**
   * A constraint says how parts lie. Partial results go on waiting, unless an axis of theirs is to split it: whoever reads it
   * may want them scattered.
   */
  private constrain(node: ProgramNode): void {
    const [x, y] = [node.inputs[0]!, node.outputs[0]!];
    const dims = dimsOfConstraint(this.mesh, this.avals[x]!, node.params);
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

  private isComposed(node: ProgramNode): boolean {
    const inputs = node.inputs.map((id) => (id < 0 ? undefined : this.layoutOf(id)));
    const wishes = node.outputs.map((id) => this.wishes.get(id));
    return isSplitByReference(this.mesh, this.rules.get(node)!, inputs, wishes);
  }

  /** The reference takes the place of the op, in layouts that follow from those of its inputs. */
  private compose(node: ProgramNode): void {
    const { reference, nodes, outputs, idOf } = graft(this.program, node, this.avals);
    const known: Wishes = new Map();
    for (const id of reference.inputs) known.set(id, this.layoutOf(idOf(id)).dims);
    reference.outputs.forEach((id, i) => {
      const wish = this.wishes.get(node.outputs[i]!);
      if (wish && !known.has(id)) known.set(id, wish);
    });
    const wishes = propagate(this.mesh, reference, rulesOf(reference.nodes, reference.values), known);
    for (const [id, dims] of wishes) if (!known.has(id)) this.wishes.set(idOf(id), dims);
    this.count(nodes.flatMap(({ inputs }) => inputs));
    for (const inner of nodes) {
      this.rules.set(inner, ruleOf(this.avals, inner));
      this.visit(inner);
    }
    node.outputs.forEach((id, i) => {
      this.made.set(id, this.made.get(outputs[i]!)!);
    });
  }

  private call(node: ProgramNode): void {
    const rule = this.rules.get(node)!;
    const passing = this.passing(node);
    const choice = this.choose(node, rule, passing);
    const partial = this.waiting(node, passing);
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
    const inputs = node.inputs.map((id) => (id < 0 ? undefined : this.layoutOf(id)));
    return choose(this.mesh, {
      rule,
      avals: {
        inputs: node.inputs.map((id) => (id < 0 ? undefined : this.avals[id]!)),
        outputs: node.outputs.map((id) => this.avals[id]!),
      },
      inputs: inputs.map((layout) => layout && without(layout, busy)),
      wishes: node.outputs.map((id) => this.wishes.get(id)),
      busy,
    });
  }

  /**
   * Axes along which partial results pass through a node, as it only moves elements of its one input or is linear in all of its
   * inputs: where there is no more to combine afterwards, with what others read of them, than before.
   */
  private passing({ op, inputs, outputs }: ProgramNode): ReadonlySet<string> {
    const isMove = op.moves !== undefined && inputs.length === 1;
    if (!isMove && !op.linear) return new Set();
    const layouts = inputs.map((id) => this.layoutOf(id));
    const bytes = [...inputs, ...outputs].map((id) => byteSize(this.avals[id]!));
    const isNumber = outputs.every((id) => this.avals[id]!.shape.every((length) => length === 1));
    const isShared = inputs.map((id) => this.unread.get(id)! > 0);
    const wished = new Set(this.wishes.get(outputs[0]!)?.flat());
    const used = new Set(layouts.flatMap(({ dims }) => dims.flat()));
    const isPassed = (axis: string): boolean => {
      const waits = layouts.map(({ partial }) => partial[axis]);
      const sum = (of: readonly number[]): number => of.reduce((n, size, i) => n + (waits[i] ? size : 0), 0);
      const after = bytes.at(-1)! + sum(bytes.map((size, i) => (isShared[i] ? size : 0)));
      if (isMove) return after <= sum(bytes);
      // Numbers go on waiting for others to go with.
      const isLess = after < sum(bytes) || (after === sum(bytes) && isNumber);
      // What is to be split along the axis is scattered before what is whole is added.
      const areSums = waits.every((how) => how === "sum" || (how === undefined && !wished.has(axis)));
      return isLess && areSums && !used.has(axis);
    };
    return new Set(layouts.flatMap(({ partial }) => Object.keys(partial)).filter(isPassed));
  }

  /** How results wait along the axes that pass through a node. */
  private waiting({ inputs }: ProgramNode, passing: ReadonlySet<string>): Layout["partial"] {
    const all = inputs.flatMap((id) => (id < 0 ? [] : Object.entries(this.layoutOf(id).partial)));
    return Object.fromEntries(all.filter(([axis]) => passing.has(axis)));
  }
}

/** The steps that the outputs depend on: those of a reference are there for all results of the op. */
function needed(steps: readonly Step[], outputs: readonly number[]): Step[] {
  const read = new Set(outputs);
  const kept = [...steps].reverse().filter((step) => {
    const isRead = madeBy(step).some((id) => read.has(id));
    if (isRead) for (const id of readBy(step)) read.add(id);
    return isRead;
  });
  return kept.reverse();
}

/** The layout as if nothing waited along some axes. */
const without = ({ dims, partial }: Layout, axes: ReadonlySet<string>): Layout => ({
  dims,
  partial: Object.fromEntries(Object.entries(partial).filter(([axis]) => !axes.has(axis))),
});
