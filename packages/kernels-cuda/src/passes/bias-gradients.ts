/**
 * The gradients of a layer's weights and of its bias, which sum the same gradient over the same axes: one read of it.
 *
 *     dw = dot(x, dy) summed over the rows        dw, db = dot_bias_gradient(x, dy) { of: "b" }
 *     db = reduce_sum(dy) over the rows      →
 *
 * For 16 bits, as the FP8 quantizers do it: see transposed-copies.ts. Sums are taken in float32 and rounded once, as before.
 */
import { Links, type Pass, type PassContext, type Program, type ProgramNode, replaceNodes } from "@te/tensor/backend";
import type { OpDefinition } from "@te/tensor/op";

/** Only this pass makes it; it is not in the registry. */
const joinedOp: OpDefinition = {
  name: "dot_bias_gradient",
  key: "dot_bias_gradient",
  inputs: ["a", "b"],
  outputs: ["y", "biasGradient"],
  params: {},
  shape: () => ({}) as never,
};

const inOrder = (axes: unknown): string => String([...(axes as readonly number[])].sort((a, b) => a - b));

class BiasGradients {
  private readonly links: Links;
  private readonly replaced = new Map<ProgramNode, readonly ProgramNode[]>();

  constructor(
    private readonly program: Program,
    private readonly supports: PassContext["supports"],
  ) {
    this.links = new Links(program);
  }

  run(): Program {
    for (const dot of this.program.nodes) {
      if (dot.op.name !== "dot" || (dot.inputs[2] ?? -1) >= 0) continue;
      if (!["bfloat16", "float16"].includes(this.program.values[dot.outputs[0]!]!.dtype)) continue;
      if (!this.join(dot, 1)) this.join(dot, 0);
    }
    return replaceNodes(this.program, this.replaced);
  }

  private join(dot: ProgramNode, operand: 0 | 1): boolean {
    const sum = this.sumOf(dot, operand);
    const place = sum && this.placeOf(dot, sum);
    if (!place) return false;
    const joined = {
      op: joinedOp,
      inputs: dot.inputs.slice(0, 2),
      outputs: [dot.outputs[0]!, sum.outputs[0]!],
      params: { ...dot.params, of: operand === 0 ? "a" : "b" },
    };
    if (this.supports(this.program.spec(joined)) !== true) return false;
    this.replaced.set(dot, []).set(sum, []).set(place, [joined]);
    return true;
  }

  /** The sum of an operand over the axes that the product sums it over, in the dtype of both. */
  private sumOf({ inputs, params }: ProgramNode, operand: 0 | 1): ProgramNode | undefined {
    const { values } = this.program;
    const value = inputs[operand]!;
    const contracted = inOrder(operand === 0 ? params.lhsContract : params.rhsContract);
    return this.links.usersOf(value).find((node) => {
      if (node.op.name !== "reduce_sum" || this.replaced.has(node)) return false;
      return inOrder(node.params.axes) === contracted && values[node.outputs[0]!]!.dtype === values[value]!.dtype;
    });
  }

  /** The first of the two, if all that the product reads is there; else the second, if nothing needs the first before. */
  private placeOf(dot: ProgramNode, sum: ProgramNode): ProgramNode | undefined {
    const { links, replaced } = this;
    if (links.isBefore(dot, sum)) return dot;
    const isThere = (value: number): boolean => {
      const maker = links.producerOf(value);
      return !maker || (links.isBefore(maker, sum) && !replaced.has(maker));
    };
    if (dot.inputs.every((value) => value < 0 || isThere(value))) return sum;
    const users = links.usersOf(sum.outputs[0]!);
    return users.every((user) => links.isBefore(dot, user) && !replaced.has(user)) ? dot : undefined;
  }
}

/** See above. After biases and activations are joined: what these have taken stays theirs. */
export const joinBiasGradients: Pass = {
  name: "join gradients of biases",
  when: ({ nodes }) => nodes.some(({ op }) => op.name === "reduce_sum"),
  run: (program, { supports }) => new BiasGradients(program, supports).run(),
};
