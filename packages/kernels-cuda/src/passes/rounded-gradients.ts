/**
 * Gradients of activations that are rounded to FP8 and read by nothing else:
 *
 *     quantize(gated_activation_backward(dy, u) { wide }, scale) = gated_activation_backward_quantize(dy, u, scale)
 *
 * to the bit: nothing is stored in float32.
 */
import { Links, type Pass, type ProgramNode, replaceNodes } from "@te/tensor/backend";
import type { OpDefinition } from "@te/tensor/op";

/** Only this pass makes it; it is not in the registry. */
const roundedGradientOp: OpDefinition = {
  name: "gated_activation_backward_quantize",
  key: "gated_activation_backward_quantize",
  inputs: ["dy", "u", "scale"],
  outputs: ["q", "amax"],
  params: {},
  shape: () => ({}) as never,
};

/** See above. */
export const roundedGradients: Pass = {
  name: "round gradients of activations",
  when: ({ nodes }) => nodes.some(({ op }) => op.name === "gated_activation_backward"),
  run(program, { supports }) {
    const links = new Links(program);
    const replaced = new Map<ProgramNode, readonly ProgramNode[]>();
    for (const node of program.nodes) {
      if (node.op.name !== "quantize") continue;
      const [du, scale] = node.inputs as [number, number];
      const gradient = links.producerOf(du);
      if (gradient?.op.name !== "gated_activation_backward" || links.onlyUserOf(du) !== node) continue;
      if (program.values[du]!.dtype !== "float32") continue;
      const { wide: _, ...params } = gradient.params;
      const rounded = {
        op: roundedGradientOp,
        inputs: [...gradient.inputs, scale],
        outputs: node.outputs,
        params: { ...params, dtype: node.params.dtype! },
      };
      if (supports(program.spec(rounded)) === true) replaced.set(node, [rounded]);
    }
    return replaceNodes(program, replaced);
  },
};
