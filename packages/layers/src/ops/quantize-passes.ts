/**
 * Passes that join what layers write one after the other. Norms and activations compute in float32 from whatever float
 * they are given, so
 *
 *     quantize(norm(float32(x)), scale) = norm_quantize(x, scale)          the same for activations
 *     round(norm_backward(float32(dy), float32(x), …)) = norm_backward(dy, x, …)
 *     activation_backward(float32(dy), float32(u)) = activation_backward(dy, u) { wide }
 *
 * to the bit, as the references say: nothing is stored in float32 then.
 */
import { quantizeOp } from "@te/fp8";
import { addPass, Links, type Pass, type Program, type ProgramNode, replaceNodes } from "@te/tensor/backend";
import { castOp, type OpDefinition } from "@te/tensor/op";
import { gatedActivationBackwardOp, gatedActivationOp } from "./gated-activation.js";
import { gatedActivationQuantizeOp } from "./gated-activation-quantize.js";
import { layerNormBackwardOp, layerNormOp } from "./layer-norm.js";
import { layerNormQuantizeOp, rmsNormQuantizeOp } from "./norm-quantize.js";
import { rmsNormBackwardOp, rmsNormOp } from "./rms-norm.js";

/** Nodes and what takes their places, null for nothing. */
type Replaced = Map<ProgramNode, ProgramNode | null>;
type Rewrite = (node: ProgramNode, program: Program, links: Links, replaced: Replaced) => void;

/** The pass that rewrites around nodes of some ops. */
const passOver = (name: string, rewrites: ReadonlyMap<OpDefinition, Rewrite>): Pass => ({
  name,
  when: ({ nodes }) => nodes.some(({ op }) => rewrites.has(op)),
  run(program) {
    const links = new Links(program);
    const replaced: Replaced = new Map();
    for (const node of program.nodes) rewrites.get(node.op)?.(node, program, links, replaced);
    return replaceNodes(program, replaced);
  },
});

/** The value of 16 bits that a cast to float32 made this one of, or the value itself. */
function narrow(value: number, program: Program, links: Links): number {
  const cast = links.producerOf(value);
  if (cast?.op !== castOp.definition || program.values[value]!.dtype !== "float32") return value;
  const from = cast.inputs[0]!;
  const { dtype } = program.values[from]!;
  return dtype === "bfloat16" || dtype === "float16" ? from : value;
}

/** The ops that quantize their float32 result, by the ops that do not. Their inputs end with the scale. */
const QUANTIZING: ReadonlyMap<OpDefinition, OpDefinition> = new Map([
  [layerNormOp.definition, layerNormQuantizeOp.definition],
  [rmsNormOp.definition, rmsNormQuantizeOp.definition],
  [gatedActivationOp.definition, gatedActivationQuantizeOp.definition],
]);

/** quantize(maker(x, …), scale), where nothing else reads the maker's result. */
function joinQuantize(quantize: ProgramNode, program: Program, links: Links, replaced: Replaced): void {
  const [y, scale] = quantize.inputs as [number, number];
  const maker = links.producerOf(y);
  const op = maker && QUANTIZING.get(maker.op);
  if (!op || links.onlyUserOf(y) !== quantize || program.values[y]!.dtype !== "float32") return;
  // What a backward pass computes again stays apart.
  if (maker.recomputed !== quantize.recomputed) return;
  const [x, ...parameters] = maker.inputs as [number, ...number[]];
  const statistics = maker.outputs.slice(1);
  // They come where the quantization is, when the scale is there.
  if (statistics.some((id) => links.usersOf(id).some((user) => links.isBefore(user, quantize)))) return;
  replaced.set(maker, null);
  replaced.set(quantize, {
    ...quantize,
    op,
    inputs: [narrow(x, program, links), ...parameters, scale],
    outputs: [...quantize.outputs, ...statistics],
    params: { ...maker.params, dtype: quantize.params.dtype! },
  });
}

/** Gradients of norms: dx has the dtype of x, so both change together. */
function narrowNormGradient(node: ProgramNode, program: Program, links: Links, replaced: Replaced): void {
  const [dy, x, ...rest] = node.inputs as [number, number, ...number[]];
  const [dx, ...parameters] = node.outputs as [number, ...number[]];
  const narrowDy = narrow(dy, program, links);
  const narrowX = narrow(x, program, links);
  const cast = links.onlyUserOf(dx);
  const rounded = cast?.op === castOp.definition ? cast.outputs[0]! : undefined;
  if (narrowX !== x && rounded !== undefined && program.values[rounded]!.dtype === program.values[narrowX]!.dtype) {
    replaced.set(cast!, null);
    replaced.set(node, { ...node, inputs: [narrowDy, narrowX, ...rest], outputs: [rounded, ...parameters] });
  } else if (narrowDy !== dy) {
    replaced.set(node, { ...node, inputs: [narrowDy, x, ...rest] });
  }
}

/** Gradients of activations: du stays float32. */
function narrowActivationGradient(node: ProgramNode, program: Program, links: Links, replaced: Replaced): void {
  const [dy, u] = node.inputs as [number, number];
  const inputs = [narrow(dy, program, links), narrow(u, program, links)];
  if (inputs[0] === dy && inputs[1] === u) return;
  replaced.set(node, { ...node, inputs, params: inputs[1] === u ? node.params : { ...node.params, wide: true } });
}

/** Tells the passes of other copies of this package apart, which have ops of their own: "", then "#2" and so on. */
const copy = layerNormOp.definition.key.slice(layerNormOp.definition.name.length);

// Before the ops that a device declines become their references.
const place = { before: "expand" };
addPass(passOver(`join quantize${copy}`, new Map([[quantizeOp.definition, joinQuantize]])), place);
addPass(
  passOver(
    `narrow gradients${copy}`,
    new Map([
      [layerNormBackwardOp.definition, narrowNormGradient],
      [rmsNormBackwardOp.definition, narrowNormGradient],
      [gatedActivationBackwardOp.definition, narrowActivationGradient],
    ]),
  ),
  place,
);
