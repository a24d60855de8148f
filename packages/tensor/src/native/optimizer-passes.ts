/**
 * What optimizers do to each parameter, in as few readings of memory and launches as a device's kernels allow:
 *
 *     adamw_update(g, m, v, p, lr, count)                          → joined_adamw_update(lr, count, g, m, v, p)
 *     add(p, update), where nothing else reads the update          → the same with `apply`
 *     select(small, g, g / norm * maxNorm) as its gradient         → the same with `clip`, reading g
 *     reduce_sum(mul(x, x)) over all axes                          → joined_square_sum(x)
 *
 * to the bit, reading 16-bit gradients as they are. Where kernels take many tensors at once, so do the nodes:
 * joined_adamw_update(lr, count, g, m, v, p, g, m, v, p, …) of parameters with the same numbers.
 */
import { fail } from "../errors.js";
import { expectObject } from "../expect.js";
import type { ParamValue } from "../op.js";
import { joinedNode, joinNodes, type Pair } from "../program/join.js";
import { Links } from "../program/links.js";
import type { Pass } from "../program/passes.js";
import type { Program, ProgramNode } from "../program/program.js";
import { dropUnused } from "../program/simplify.js";

const each = (members: readonly ProgramNode[], name: string): ParamValue =>
  members.map(({ params }) => params[name]) as ParamValue;

/** How many tensors a device's kernels take: one, or any number. */
export interface TensorsAtOnce {
  readonly many: boolean;
}

function takesMany(fn: string, device: TensorsAtOnce): boolean {
  expectObject(fn, { device });
  const { many } = device;
  if (typeof many !== "boolean") fail("option", fn, "many must be true or false", many ?? String(many));
  return many;
}

// --- AdamW -------------------------------------------------------------------------------------------------------------

/** An update as it can be joined: what it reads as its gradient, how that is clipped, and the sum it may make itself. */
interface Update {
  readonly gradient: number;
  readonly clip?: Clip | undefined;
  readonly sum?: ProgramNode | undefined;
}

/** How clipByGlobalNorm changes gradients: select(small, g, g / norm * maxNorm), with scalars. */
interface Clip {
  readonly norm: number;
  readonly small: number;
  readonly maxNorm: number;
}

const isScalar = (id: number, { values }: Program): boolean => values[id]!.shape.length === 0;

/** What a gradient in float32 was before it was clipped, and how that was done. */
function clippedGradient(id: number, program: Program, links: Links): { gradient: number; clip: Clip } | undefined {
  const select = links.producerOf(id);
  if (select?.op.name !== "select" || program.values[id]!.dtype !== "float32") return undefined;
  const [small, gradient, product] = select.inputs as [number, number, number];
  const mul = links.producerOf(product);
  const div = mul?.op.name === "mul" ? links.producerOf(mul.inputs[0]!) : undefined;
  const maxNorm = mul && links.producerOf(mul.inputs[1]!);
  if (div?.op.name !== "div" || div.inputs[0] !== gradient || maxNorm?.op.name !== "fill") return undefined;
  const norm = div.inputs[1]!;
  if (![small, norm, maxNorm.outputs[0]!].every((scalar) => isScalar(scalar, program))) return undefined;
  if (program.values[gradient]!.dtype !== "float32" || isScalar(gradient, program)) return undefined;
  return { gradient, clip: { norm, small, maxNorm: maxNorm.params.value as number } };
}

/** A value before it was cast to float32, which a kernel that reads any float dtype does itself. */
function beforeCast(id: number, { values }: Program, links: Links): number {
  const cast = links.producerOf(id);
  if (cast?.op.name !== "cast" || values[id]!.dtype !== "float32") return id;
  return ["bfloat16", "float16"].includes(values[cast.inputs[0]!]!.dtype) ? cast.inputs[0]! : id;
}

function readUpdate({ inputs, outputs }: ProgramNode, program: Program, links: Links): Update {
  const [g, , , parameter] = inputs as [number, number, number, number];
  const { gradient, clip } = clippedGradient(g, program, links) ?? { gradient: g };
  const user = links.onlyUserOf(outputs[0]!);
  const adds = user?.op.name === "add" && user.inputs.includes(outputs[0]!) && user.inputs.includes(parameter);
  return { gradient: beforeCast(gradient, program, links), clip, sum: adds ? user : undefined };
}

/** What must be equal in updates of one node. */
function kindOfUpdate({ inputs, params: { weightDecay: _, ...others } }: ProgramNode, { clip, sum }: Update): string {
  return JSON.stringify([inputs[4], inputs[5], clip, sum !== undefined, Object.entries(others).sort()]);
}

function joinUpdates(members: readonly ProgramNode[], program: Program, { clip, sum }: Update): ProgramNode {
  const { params, inputs } = members[0]!;
  const { weightDecay: _, ...others } = params;
  const scalars = [inputs[4]!, inputs[5]!, ...(clip ? [clip.norm, clip.small] : [])];
  const inPlace = members.flatMap((_, k): Pair[] => {
    const first = scalars.length + 4 * k;
    return [[first + 1, 3 * k + 1], [first + 2, 3 * k + 2], ...(sum ? [[first + 3, 3 * k] as const] : [])];
  });
  const node = {
    inputs: [...scalars, ...members.flatMap((member) => member.inputs.slice(0, 4))],
    outputs: members.flatMap(({ outputs }) => outputs),
    params: {
      ...others,
      weightDecay: each(members, "weightDecay"),
      apply: sum !== undefined,
      clip: clip !== undefined,
      maxNorm: clip?.maxNorm ?? 0,
    },
  };
  return joinedNode(program, "joined_adamw_update", node, inPlace);
}

/** Lets updates by AdamW clip the gradients and add their results to the parameters. Before elementwise ops are fused. */
export function joinAdamwUpdates(device: TensorsAtOnce): Pass {
  const many = takesMany("joinAdamwUpdates", device);
  return {
    name: "join AdamW updates",
    when: ({ nodes }) => nodes.some(({ op }) => op.name === "adamw_update"),
    run(program) {
      const links = new Links(program);
      const updates = new Map<number, Update>();
      const sums = new Set<ProgramNode>();
      const nodes = program.nodes.map((node) => {
        if (node.op.name !== "adamw_update") return node;
        const update = readUpdate(node, program, links);
        const { gradient, clip, sum } = update;
        const isAlone = !clip && !sum && gradient === node.inputs[0];
        if (isAlone && !many) return node;
        if (sum) sums.add(sum);
        const [result, ...moments] = node.outputs as [number, ...number[]];
        const outputs = [sum?.outputs[0] ?? result, ...moments];
        updates.set(outputs[0]!, update);
        // It waits for what it is to read in the end.
        const scalars = clip ? [clip.norm, clip.small] : [];
        return { ...node, inputs: [gradient, ...node.inputs.slice(1), ...scalars], outputs };
      });
      const updateOf = ({ op, outputs }: ProgramNode): Update | undefined =>
        op.name === "adamw_update" ? updates.get(outputs[0]!) : undefined;
      const join = (members: readonly ProgramNode[], whole: Program): ProgramNode =>
        joinUpdates(members, whole, updateOf(members[0]!)!);
      const marked = program.with({ nodes: nodes.filter((node) => !sums.has(node)) });
      const kindOf = (node: ProgramNode): string | undefined => {
        const update = updateOf(node);
        return update && kindOfUpdate(node, update);
      };
      const joined = many ? joinNodes(marked, kindOf, join) : marked;
      const alone = joined.nodes.map((node) => (updateOf(node) ? join([node], joined) : node));
      return dropUnused(joined.with({ nodes: alone }));
    },
  };
}

// --- sums of squares ---------------------------------------------------------------------------------------------------

/** What a sum of squares over all axes reads: the tensor before it was cast to float32. Undefined for other nodes. */
function squaredBy(node: ProgramNode, program: Program, links: Links): number | undefined {
  if (node.op.name !== "reduce_sum") return undefined;
  const [squares] = node.inputs as [number];
  const { shape, dtype } = program.values[squares]!;
  const product = links.producerOf(squares);
  if (dtype !== "float32" || (node.params.axes as readonly number[]).length !== shape.length) return undefined;
  if (product?.op.name !== "mul" || product.inputs[0] !== product.inputs[1]) return undefined;
  return beforeCast(product.inputs[0]!, program, links);
}

/** Takes sums of squares, such as those of the norm of all gradients, without the squares. Before elementwise ops are fused. */
export function joinSquareSums(device: TensorsAtOnce): Pass {
  const many = takesMany("joinSquareSums", device);
  return {
    name: "join sums of squares",
    run(program) {
      const links = new Links(program);
      const sources = new Map<number, number>();
      const nodes = program.nodes.map((node) => {
        const source = squaredBy(node, program, links);
        if (source === undefined) return node;
        sources.set(node.outputs[0]!, source);
        return { ...node, inputs: [source] };
      });
      const squared = program.with({ nodes });
      if (many ? sources.size < 2 : sources.size === 0) return program;
      const isSum = ({ outputs }: ProgramNode): boolean => sources.has(outputs[0]!);
      if (!many)
        return dropUnused(
          squared.with({ nodes: nodes.map((node) => (isSum(node) ? joinSums([node], squared) : node)) }),
        );
      const joined = joinNodes(squared, (node) => (isSum(node) ? "sum of squares" : undefined), joinSums);
      // Those that nothing was joined with are sums of products as before.
      const before = new Map(program.nodes.map((node) => [node.outputs[0]!, node]));
      const restored = joined.nodes.map((node) =>
        node.op.name === "reduce_sum" && isSum(node) ? before.get(node.outputs[0]!)! : node,
      );
      return dropUnused(joined.with({ nodes: restored }));
    },
  };
}

function joinSums(members: readonly ProgramNode[], program: Program): ProgramNode {
  const node = {
    inputs: members.map(({ inputs }) => inputs[0]!),
    outputs: members.map(({ outputs }) => outputs[0]!),
    params: {},
  };
  return joinedNode(program, "joined_square_sum", node, []);
}
