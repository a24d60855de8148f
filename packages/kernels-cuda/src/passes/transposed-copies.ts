/**
 * Copies of FP8 tensors for products that sum over their leading axes. Tensor cores read FP8 along the depth only, so
 * that a tensor x [rows, columns], summed over its columns in one product and over its rows in another, is needed as it
 * is and transposed. What rounds it has it in registers and writes both:
 *
 *     q, amax = quantize(x, scale)                  q, amax, qT = quantize_transposed(x, scale)
 *     scaled_dot(q, b) { lhsContract: [0] }    →    scaled_dot(qT, b) { lhsContract: [1] }
 *
 * to the bit. qT is [columns, rows], all leading axes as one and all others as one. Sums of x over the same leading axes,
 * such as the gradient of a bias, become an output too:
 *
 *     s = sum(float32(x), leading axes)             q, amax, qT, s = quantize_transposed(x, scale)
 */
import {
  elementwiseOp,
  Links,
  type Pass,
  type PassContext,
  type Program,
  type ProgramNode,
  replaceNodes,
} from "@te/tensor/backend";
import type { OpDefinition } from "@te/tensor/op";

/** The ops that round to FP8 and may write a transposed copy as their last output, where the device has a kernel for it. */
const ROUNDING: ReadonlySet<string> = new Set([
  "quantize",
  "layer_norm_quantize",
  "rms_norm_quantize",
  "gated_activation_quantize",
  "gated_activation_backward_quantize",
]);

/** Sizes that tensor cores read as they lie. */
const MULTIPLE = 16;

/** The op that rounds and writes a transposed copy. Only this pass makes it; it is not in the registry. */
const withTransposed = (op: OpDefinition): OpDefinition => ({
  name: `${op.name}_transposed`,
  key: `${op.name}_transposed`,
  inputs: op.inputs,
  outputs: [...op.outputs, "qT"],
  params: op.params,
  shape: () => ({}) as never,
});

/** How a product sums over one operand. */
interface Side {
  readonly value: number;
  readonly contract: readonly number[];
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

/** How many leading axes these are, in any order; 0 where they are others, or all. */
function leading(axes: readonly number[], rank: number): number {
  const leads = axes.length < rank && axes.every((axis) => axis < axes.length);
  return leads ? axes.length : 0;
}

const sidesOf = ({ inputs, params }: ProgramNode): readonly [Side, Side] => [
  { value: inputs[0]!, contract: params.lhsContract as readonly number[] },
  { value: inputs[1]!, contract: params.rhsContract as readonly number[] },
];

const isAscending = (axes: readonly number[]): boolean => axes.every((axis, i) => i === 0 || axes[i - 1]! < axis);

/** A rounding that is to write a transposed copy: by how many leading axes, and under which number. */
interface Copy {
  readonly lead: number;
  readonly value: number;
}

class Copies {
  private readonly links: Links;
  private readonly values;
  private readonly copies = new Map<ProgramNode, Copy | undefined>();
  private readonly replaced = new Map<ProgramNode, readonly ProgramNode[]>();

  constructor(
    private readonly program: Program,
    private readonly supports: PassContext["supports"],
  ) {
    this.links = new Links(program);
    this.values = [...program.values];
  }

  run(): Program {
    for (const node of this.program.nodes) if (node.op.name === "scaled_dot") this.visit(node);
    return replaceNodes(this.program, this.replaced, this.values);
  }

  private visit(node: ProgramNode): void {
    const sides = sidesOf(node);
    if ((node.params.lhsBatch as readonly number[]).length) return;
    const turns = sides.map((side) => this.mayTurn(side));
    if (!turns.includes(true)) return;
    // A transposed operand has its contracted axes as one, in their order: those of the other must follow it.
    const by = turns[0] ? 0 : 1;
    const order = sides[0].contract.map((_, i) => i).sort((i, j) => sides[by].contract[i]! - sides[by].contract[j]!);
    const contracts = sides.map(({ contract }) => order.map((i) => contract[i]!));
    if (turns[0] && turns[1] && !isAscending(contracts[1]!)) return;
    const copies = sides.map((side, i) => (turns[i] ? this.copyOf(side) : undefined));
    if (!copies.some((copy) => copy)) return;
    const inputs = node.inputs.map((value, i) => copies[i]?.value ?? value);
    const [lhsContract, rhsContract] = contracts.map((contract, i) => (copies[i] ? [1] : contract));
    this.replaced.set(node, [
      { ...node, inputs, params: { ...node.params, lhsContract: lhsContract!, rhsContract: rhsContract! } },
    ]);
  }

  /** Whether an operand is summed over leading axes, and comes from a rounding that may write it transposed. */
  private mayTurn({ value, contract }: Side): boolean {
    const maker = this.links.producerOf(value);
    if (!maker || !ROUNDING.has(maker.op.name) || maker.outputs[0] !== value) return false;
    const { shape } = this.program.values[value]!;
    const lead = leading(contract, shape.length);
    return lead > 0 && sizeOf(shape.slice(0, lead)) % MULTIPLE === 0 && sizeOf(shape.slice(lead)) % MULTIPLE === 0;
  }

  /** The transposed copy of an operand; undefined where the device has no kernel, or another product wants another. */
  private copyOf({ value, contract }: Side): Copy | undefined {
    const maker = this.links.producerOf(value)!;
    if (!this.copies.has(maker)) this.copies.set(maker, this.makeCopy(maker, contract.length));
    const copy = this.copies.get(maker);
    return copy?.lead === contract.length ? copy : undefined;
  }

  private makeCopy(maker: ProgramNode, lead: number): Copy | undefined {
    const { shape, dtype } = this.values[maker.outputs[0]!]!;
    const aval = { shape: [sizeOf(shape.slice(lead)), sizeOf(shape.slice(0, lead))], dtype };
    const spec = this.program.spec(maker);
    const op = withTransposed(maker.op);
    if (this.supports({ ...spec, op: op.name, outputs: [...spec.outputs, aval] }) !== true) return undefined;
    const value = this.values.push(aval) - 1;
    const outputs = [...maker.outputs, value];
    const sum = maker.op.name === "quantize" ? this.sumOver(maker, lead) : undefined;
    if (sum) {
      const withSum = [...spec.outputs, aval, this.values[sum.outputs[0]!]!];
      if (this.supports({ ...spec, op: op.name, outputs: withSum }) === true) {
        this.replaced.set(sum, []);
        this.dropCast(sum);
        outputs.push(sum.outputs[0]!);
      }
    }
    this.replaced.set(maker, [{ ...maker, op, outputs }]);
    return { lead, value };
  }

  /** The float32 sum of what a rounding reads over its leading axes, if nobody needs it before the rounding. */
  private sumOver(maker: ProgramNode, lead: number): ProgramNode | undefined {
    const { links } = this;
    return this.program.nodes.find((node) => {
      const { op, inputs, outputs, params } = node;
      if (op.name !== "reduce_sum" || this.replaced.has(node)) return false;
      if (!this.isWide(inputs[0]!, maker.inputs[0]!)) return false;
      const axes = params.axes as readonly number[];
      const { shape } = this.values[inputs[0]!]!;
      if (axes.length !== lead || leading(axes, shape.length) !== lead) return false;
      return links.usersOf(outputs[0]!).every((user) => links.isBefore(maker, user));
    });
  }

  /** Whether a value is x in float32: x itself, or a register of a fused node that x was cast to. */
  private isWide(value: number, x: number): boolean {
    if (this.values[value]!.dtype !== "float32") return false;
    if (value === x) return true;
    const fused = this.links.producerOf(value);
    if (fused?.op !== elementwiseOp) return false;
    const registers = fused.params.outputs as readonly number[];
    const code = fused.params.code as readonly string[];
    const of = fused.outputs.includes(x) ? registers[fused.outputs.indexOf(x)]! : fused.inputs.indexOf(x);
    const instruction = code[registers[fused.outputs.indexOf(value)]! - fused.inputs.length];
    return of >= 0 && instruction === `cast float32 %${of}`;
  }

  /** Does not store a cast that only a sum has read. */
  private dropCast(sum: ProgramNode): void {
    const value = sum.inputs[0]!;
    const maker = this.links.producerOf(value);
    if (maker?.op !== elementwiseOp || maker.outputs.length === 1 || this.links.onlyUserOf(value) !== sum) return;
    const fused = this.replaced.get(maker)?.[0] ?? maker;
    const at = fused.outputs.indexOf(value);
    const without = (list: readonly number[]): number[] => list.filter((_, i) => i !== at);
    const outputs = without(fused.params.outputs as readonly number[]);
    this.replaced.set(maker, [{ ...fused, outputs: without(fused.outputs), params: { ...fused.params, outputs } }]);
  }
}

/** See above. */
export const transposedCopies: Pass = {
  name: "transposed copies",
  when: ({ nodes }) => nodes.some(({ op }) => op.name === "scaled_dot"),
  run: (program, { supports }) => new Copies(program, supports).run(),
};
