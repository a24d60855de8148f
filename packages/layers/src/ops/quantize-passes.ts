/**
 * Passes that join what layers write one after the other. Norms and activations compute in float32 from whatever float
 * they are given, so
 *
 *     quantize(norm(float32(x)), scale) = norm_quantize(x, scale)          the same for activations
 *     round(norm_backward(float32(dy), float32(x), …)) = norm_backward(dy, x, …)
 *     activation_backward(float32(dy), float32(u)) = activation_backward(dy, u) { wide }
 *
 * to the bit, as the references say: nothing is stored in float32 then. Constraints between them move to where there are
 * fewer bytes:
 *
 *     quantize(constrained(x), scale) = constrained(quantize(x, scale))
 *     constrained(float32(x)) = float32(constrained(x))
 */
import { quantizeOp } from "@te/fp8";
import { shardingConstraintOp } from "@te/sharding";
import type { Aval } from "@te/tensor";
import { addPass, Links, type Pass, type Program, type ProgramNode, replaceNodes } from "@te/tensor/backend";
import { castOp, type OpDefinition } from "@te/tensor/op";
import { gatedActivationBackwardOp, gatedActivationOp } from "./gated-activation.js";
import { gatedActivationQuantizeOp } from "./gated-activation-quantize.js";
import { layerNormBackwardOp, layerNormOp } from "./layer-norm.js";
import { layerNormQuantizeOp, rmsNormQuantizeOp } from "./norm-quantize.js";
import { rmsNormBackwardOp, rmsNormOp } from "./rms-norm.js";

/** A program and the nodes that are to take the places of others. */
interface Rewriting {
  readonly program: Program;
  readonly links: Links;
  /** Those of the program, and at the end what new nodes make. */
  readonly values: Aval[];
  readonly replaced: Map<ProgramNode, readonly ProgramNode[]>;
}
type Rewrite = (node: ProgramNode, rewriting: Rewriting) => void;

/** The pass that rewrites around nodes of some ops. */
const passOver = (name: string, rewrites: ReadonlyMap<OpDefinition, Rewrite>): Pass => ({
  name,
  when: ({ nodes }) => nodes.some(({ op }) => rewrites.has(op)),
  run(program) {
    const values = [...program.values];
    const rewriting: Rewriting = { program, links: new Links(program), values, replaced: new Map() };
    for (const node of program.nodes) rewrites.get(node.op)?.(node, rewriting);
    return replaceNodes(program, rewriting.replaced, values);
  },
});

/** constrained(float32(x)): x is constrained instead. */
function constrainNarrow(constraint: ProgramNode, rewriting: Rewriting): void {
  const { values, replaced } = rewriting;
  const [wide] = constraint.inputs as [number];
  const x = narrow(wide, rewriting);
  if (x === wide) return;
  const constrained = values.push(values[x]!) - 1;
  const cast = rewriting.links.producerOf(wide)!;
  replaced.set(constraint, [
    { ...constraint, inputs: [x], outputs: [constrained] },
    { ...cast, inputs: [constrained], outputs: constraint.outputs },
  ]);
}

/** quantize(constrained(x), scale): the result is constrained instead. */
function constrainQuantized(quantize: ProgramNode, { links, values, replaced }: Rewriting): void {
  const [y, scale] = quantize.inputs as [number, number];
  const constraint = links.producerOf(y);
  if (constraint?.op !== shardingConstraintOp.definition || links.onlyUserOf(y) !== quantize) return;
  const [q, amax] = quantize.outputs as [number, number];
  const whole = values.push(values[q]!) - 1;
  replaced.set(constraint, []);
  replaced.set(quantize, [
    { ...quantize, inputs: [constraint.inputs[0]!, scale], outputs: [whole, amax] },
    { ...constraint, inputs: [whole], outputs: [q] },
  ]);
}

/** The value of 16 bits that a cast to float32 made this one of, or the value itself. */
function narrow(value: number, { program, links }: Pick<Rewriting, "program" | "links">): number {
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
function joinQuantize(quantize: ProgramNode, rewriting: Rewriting): void {
  const { program, links, replaced } = rewriting;
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
  replaced.set(maker, []);
  replaced.set(quantize, [
    {
      ...quantize,
      op,
      inputs: [narrow(x, rewriting), ...parameters, scale],
      outputs: [...quantize.outputs, ...statistics],
      params: { ...maker.params, dtype: quantize.params.dtype! },
    },
  ]);
}

/** Gradients of norms: dx has the dtype of x, so both change together. */
function narrowNormGradient(node: ProgramNode, rewriting: Rewriting): void {
  const { program, links, replaced } = rewriting;
  const [dy, x, ...rest] = node.inputs as [number, number, ...number[]];
  const [dx, ...parameters] = node.outputs as [number, ...number[]];
  const narrowDy = narrow(dy, rewriting);
  const narrowX = narrow(x, rewriting);
  const cast = links.onlyUserOf(dx);
  const rounded = cast?.op === castOp.definition ? cast.outputs[0]! : undefined;
  if (narrowX !== x && rounded !== undefined && program.values[rounded]!.dtype === program.values[narrowX]!.dtype) {
    replaced.set(cast!, []);
    replaced.set(node, [{ ...node, inputs: [narrowDy, narrowX, ...rest], outputs: [rounded, ...parameters] }]);
  } else if (narrowDy !== dy) {
    replaced.set(node, [{ ...node, inputs: [narrowDy, x, ...rest] }]);
  }
}

/** Gradients of activations: du stays float32. */
function narrowActivationGradient(node: ProgramNode, rewriting: Rewriting): void {
  const [dy, u] = node.inputs as [number, number];
  const inputs = [narrow(dy, rewriting), narrow(u, rewriting)];
  if (inputs[0] === dy && inputs[1] === u) return;
  const params = inputs[1] === u ? node.params : { ...node.params, wide: true };
  rewriting.replaced.set(node, [{ ...node, inputs, params }]);
}

/** Tells the passes of other copies of this package apart, which have ops of their own: "", then "#2" and so on. */
const copy = layerNormOp.definition.key.slice(layerNormOp.definition.name.length);

// Before the ops that a device declines become their references.
const place = { before: "expand" };
addPass(
  passOver(
    `constrain less${copy}`,
    new Map([
      [shardingConstraintOp.definition, constrainNarrow],
      [quantizeOp.definition, constrainQuantized],
    ]),
  ),
  place,
);
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
