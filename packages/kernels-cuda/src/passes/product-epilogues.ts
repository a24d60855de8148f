/**
 * What follows a product and is done to its sums before they are rounded:
 *
 *     add(dot(a, b), bias)                              = dot(a, b, bias)
 *     u = dot(a, b, bias); y = gated_activation(u)      = dot_activation(a, b, bias) → y, and u where others read it
 *     gated_activation_backward(dot(a, b), u)           = dot_activation_backward(a, b, u) → du
 *     reduce_sum(du) over its rows, a bias's gradient   = its second output
 *
 * Each result is rounded once: where the chain rounds a product before the bias is added, before the activation, or before
 * it is multiplied by the derivative, here nothing is rounded, and the bias's gradient sums what is not rounded yet. The u
 * that is kept is rounded as before, and the derivative is taken there.
 *
 * Of activations, gelu (the tanh form) in 16 bits, whose formula is that of cuBLASLt up to less than the rounding of the
 * result, and relu. The derivative of relu is the same at y as at u, so that u is not kept. It stays a node of its own:
 * cuBLASLt reads it as bits that only its own products write.
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
import { definedOps, type OpDefinition } from "@te/tensor/op";

/** Only these passes make them; they are not in the registry. */
const made = (name: string, inputs: readonly string[], optional: readonly string[], outputs: readonly string[]) =>
  ({ name, key: name, inputs, optional, outputs, params: {}, shape: () => ({}) as never }) satisfies OpDefinition;
const forwardOp = made("dot_activation", ["a", "b"], ["bias"], ["y"]);
const savingOp = made("dot_activation", ["a", "b"], ["bias"], ["y", "u"]);
const backwardOp = made("dot_activation_backward", ["a", "b", "u"], [], ["du"]);
const summingOp = made("dot_activation_backward", ["a", "b", "u"], [], ["du", "biasGradient"]);

const sizeOf = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);
const hasBias = ({ inputs }: ProgramNode): boolean => (inputs[2] ?? -1) >= 0;

/** The sizes along which a bias lies: those of b that are neither summed over nor a batch. */
function freeSizes({ inputs, params }: ProgramNode, { values }: Program): readonly number[] {
  const taken = [...(params.rhsContract as readonly number[]), ...(params.rhsBatch as readonly number[])];
  return values[inputs[1]!]!.shape.filter((_, axis) => !taken.includes(axis));
}

/** What is added to a product that nothing else reads: the product and the bias. */
function addedBias(node: ProgramNode, program: Program, links: Links): [dot: ProgramNode, bias: number] | undefined {
  if (node.op !== elementwiseOp || node.inputs.length !== 2 || node.outputs.length !== 1) return undefined;
  const { dtype, shape } = program.values[node.outputs[0]!]!;
  const code = node.params.code as readonly string[];
  if (code.length !== 1 || ![`add ${dtype} %0 %1`, `add ${dtype} %1 %0`].includes(code[0]!)) return undefined;
  for (const [value, bias] of [node.inputs, [...node.inputs].reverse()] as [number, number][]) {
    const dot = links.producerOf(value);
    if (dot?.op.name !== "dot" || hasBias(dot) || links.onlyUserOf(value) !== node) continue;
    const { values } = program;
    const like = (x: number, sizes: readonly number[]) =>
      values[x]!.dtype === dtype && String(values[x]!.shape) === String(sizes);
    if (like(value, shape) && like(bias, freeSizes(dot, program))) return [dot, bias];
  }
  return undefined;
}

/** Lets products add the biases that follow them. After elementwise ops are fused. */
export const joinBiases: Pass = {
  name: "join biases",
  when: ({ nodes }) => nodes.some(({ op }) => op.name === "dot"),
  run(program, { supports }) {
    const links = new Links(program);
    const replaced = new Map<ProgramNode, readonly ProgramNode[]>();
    for (const node of program.nodes) {
      const found = addedBias(node, program, links);
      if (!found) continue;
      const [dot, bias] = found;
      const joined = { ...dot, inputs: [dot.inputs[0]!, dot.inputs[1]!, bias], outputs: node.outputs };
      if (supports(program.spec(joined)) === true) replaced.set(dot, []).set(node, [joined]);
    }
    return replaceNodes(program, replaced);
  },
};

/** The one activation of a node, if it can be joined with the product that makes its operand. */
function activationOf({ params, outputs }: ProgramNode, { values }: Program): "gelu" | "relu" | undefined {
  const [name, ...others] = params.activations as readonly string[];
  if (others.length > 0 || params.wide === true) return undefined;
  const is16 = ["bfloat16", "float16"].includes(values[outputs[0]!]!.dtype);
  return name === "relu" || (name === "gelu" && is16) ? name : undefined;
}

class Epilogues {
  private readonly links: Links;
  private readonly values;
  private readonly replaced = new Map<ProgramNode, readonly ProgramNode[]>();

  constructor(
    private readonly program: Program,
    private readonly supports: PassContext["supports"],
  ) {
    this.links = new Links(program);
    this.values = [...program.values];
  }

  run(): Program {
    for (const node of this.program.nodes) {
      if (node.op.name === "gated_activation") this.joinActivation(node);
      if (node.op.name === "gated_activation_backward") this.joinDerivative(node);
    }
    return replaceNodes(this.program, this.replaced, this.values);
  }

  /** The product that makes a value, unless it is joined already. */
  private productOf(value: number): ProgramNode | undefined {
    const dot = this.links.producerOf(value);
    return dot?.op.name === "dot" && !this.replaced.has(dot) ? dot : undefined;
  }

  private isSupported(node: ProgramNode): boolean {
    return this.supports(this.program.spec(node)) === true;
  }

  private joinActivation(node: ProgramNode): void {
    const { links, program } = this;
    const [u] = node.inputs as [number];
    const dot = this.productOf(u);
    const activation = activationOf(node, program);
    if (!dot || !activation) return;
    const others = links.usersOf(u).filter((user) => user !== node);
    if (!others.every((user) => links.isBefore(node, user))) return;
    const alone = others.length === 0 && links.onlyUserOf(u) === node;
    const params = { ...dot.params, activation };
    if (activation === "gelu") {
      const op = alone ? forwardOp : savingOp;
      const outputs = alone ? node.outputs : [node.outputs[0]!, u];
      this.put(dot, node, { ...dot, op, outputs, params });
    } else if (!program.outputs.includes(u) && others.every((user) => this.isDerivativeOfRelu(user, u))) {
      const joined = { ...dot, op: forwardOp, outputs: node.outputs, params };
      if (this.put(dot, node, joined)) for (const user of others) this.readResult(user, node.outputs[0]!, u);
    }
  }

  private put(dot: ProgramNode, node: ProgramNode, joined: ProgramNode): boolean {
    if (!this.isSupported(joined)) return false;
    this.replaced.set(dot, []).set(node, [joined]);
    return true;
  }

  private isDerivativeOfRelu({ op, inputs, params }: ProgramNode, u: number): boolean {
    const reads = op.name === "gated_activation_backward" && inputs[1] === u && inputs[0] !== u;
    return reads && String(params.activations) === "relu";
  }

  /** Lets the derivative of relu read its result y in the shape of u. */
  private readResult(node: ProgramNode, y: number, u: number): void {
    const { shape } = this.values[u]!;
    const reshaped = this.values.push(this.values[u]!) - 1;
    const reshape = { op: definedOps().get("reshape")!, inputs: [y], outputs: [reshaped], params: { shape } };
    this.replaced.set(node, [reshape, { ...node, inputs: [node.inputs[0]!, reshaped] }]);
  }

  private joinDerivative(node: ProgramNode): void {
    const { links, program } = this;
    const [dy, u] = node.inputs as [number, number];
    const dot = this.productOf(dy);
    const activation = activationOf(node, program);
    if (!dot || hasBias(dot) || activation !== "gelu" || links.onlyUserOf(dy) !== node) return;
    const joined = {
      ...dot,
      op: backwardOp,
      inputs: [dot.inputs[0]!, dot.inputs[1]!, u],
      outputs: node.outputs,
      params: { ...dot.params, activation },
    };
    const sum = this.sumOfRows(node.outputs[0]!, sizeOf(freeSizes(dot, program)));
    if (sum) {
      const summing = { ...joined, op: summingOp, outputs: [node.outputs[0]!, sum.outputs[0]!] };
      if (this.put(dot, node, summing)) {
        this.replaced.set(sum, []);
        return;
      }
    }
    this.put(dot, node, joined);
  }

  /** The sum of a value over the leading axes that leaves so many elements. */
  private sumOfRows(value: number, size: number): ProgramNode | undefined {
    const { shape, dtype } = this.values[value]!;
    return this.links.usersOf(value).find(({ op, outputs, params }) => {
      if (op.name !== "reduce_sum" || this.values[outputs[0]!]!.dtype !== dtype) return false;
      const axes = params.axes as readonly number[];
      const leads = axes.every((axis) => axis < axes.length);
      return leads && axes.length > 0 && sizeOf(shape.slice(axes.length)) === size;
    });
  }
}

/** Lets products apply the activation that follows, and multiply by the derivative of one. After biases are joined. */
export const joinActivations: Pass = {
  name: "join activations",
  when: ({ nodes }) => nodes.some(({ op }) => op.name.startsWith("gated_activation")),
  run: (program, { supports }) => new Epilogues(program, supports).run(),
};
