/** The body of a shardMap: a program of the parts of one device, which all run together and exchange by its nodes. */
import { full, type Tensor } from "@te/tensor";
import { byteSize, type Program, type ProgramNode } from "@te/tensor/backend";
import { applyOp, defineOp, type OpDefinition, wholeRule } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";
import { type ShardExchange, shardExchangeOp } from "../ops/shard-exchange.js";
import type { Exchange, Parts } from "./emit.js";
import { countAlong, placeAlong } from "./layout.js";
import type { Collective } from "./partitioned.js";
import { type Sending, sentBytes } from "./reshard.js";

/** A body with the axes that split the dimensions of what it is given, constants included, and of its results. */
export interface ShardBody {
  readonly mesh: Mesh;
  readonly program: Program;
  readonly inputs: readonly (readonly (readonly string[])[])[];
  readonly outputs: readonly (readonly (readonly string[])[])[];
}

const bodies = new WeakMap<OpDefinition, ShardBody>();

/** The body of a call of shardMap; undefined for other ops. */
export const bodyOf = (op: OpDefinition): ShardBody | undefined => bodies.get(op);

/** Makes an op one that runs a body. */
export const holdBody = (op: OpDefinition, body: ShardBody): void => void bodies.set(op, body);

const AXES = { axes: [] as readonly string[], sizes: [] as readonly number[] };

/** y = the place of the device along some axes, the first outermost: an int32. On one device 0. */
export const axisIndexOp = defineOp("axis_index", {
  inputs: [],
  outputs: ["y"],
  params: AXES,
  kinds: { axes: "strings", sizes: "sizes" },
  shape: () => ({ y: { shape: [], dtype: "int32" } }),
  sharding: wholeRule,
  reference: () => ({ y: full([], 0, { dtype: "int32" }) }),
  cases: (c) => [c.case("one device", {}, {}, { gradient: false })],
});

function moveOf({ op, params }: ProgramNode): Sending | undefined {
  if (op !== shardExchangeOp.definition) return undefined;
  const { kind, axes, reduction, dim, to, sources, targets } = params as unknown as ShardExchange;
  const axis = axes[0]!;
  switch (kind) {
    case "all_reduce":
      return { kind, axes, reduction };
    case "all_gather":
      return { kind, axis, dim };
    case "reduce_scatter":
      return { kind, axis, dim, reduction };
    case "all_to_all":
      return { kind, axis, from: dim, to };
    case "ppermute":
      return { kind, axis, sources, targets };
  }
}

/** The results of the body on some devices, node by node for all of them. */
export function runBody(
  { mesh, program }: ShardBody,
  given: readonly Parts[],
  devices: readonly number[],
  exchange: Exchange,
): Parts[] {
  const known = new Map(program.given.map((id, i) => [id, given[i]!]));
  for (const node of program.nodes) {
    const move = moveOf(node);
    if (move) known.set(node.outputs[0]!, exchange(mesh, move, known.get(node.inputs[0]!)!, "shard_map"));
    else {
      const results = devices.map((device) => [device, callOn(mesh, node, device, known)] as const);
      node.outputs.forEach((id, i) => {
        known.set(id, new Map(results.map(([device, outputs]) => [device, outputs[i]!])));
      });
    }
  }
  return program.outputs.map((id) => known.get(id)!);
}

function callOn(mesh: Mesh, node: ProgramNode, device: number, known: ReadonlyMap<number, Parts>): Tensor[] {
  const { op, inputs, params } = node;
  if (op === axisIndexOp.definition)
    return [full([], placeAlong(mesh, device, params.axes as readonly string[]), { dtype: "int32" })];
  return applyOp(
    op,
    inputs.map((id) => (id < 0 ? undefined : known.get(id)!.get(device)!)),
    params,
  );
}

/** What a body exchanges, in order. */
export function collectivesOf({ mesh, program }: ShardBody): Collective[] {
  return program.nodes.flatMap((node): Collective[] => {
    const move = moveOf(node);
    if (!move) return [];
    const axes = move.kind === "all_reduce" ? move.axes : [move.axis];
    const devices = countAlong(mesh, axes);
    const bytes = Math.max(...[...node.inputs, ...node.outputs].map((id) => byteSize(program.values[id]!)));
    return [{ kind: move.kind, axes, devices, bytes, sent: sentBytes(move.kind, bytes, devices), for: "shard_map" }];
  });
}
