/** Collectives of a program that is planned: nodes that say what is exchanged and what comes of it, and compute nothing. */
import type { Mesh } from "@te/sharding";
import { countAlong, type Exchange, type Move } from "@te/sharding/partition";
import type { Tensor } from "@te/tensor";
import type { ProgramNode } from "@te/tensor/backend";
import { currentTrace, type DType, type OpDefinition } from "@te/tensor/op";
import type { Hardware, Link } from "./hardware.js";

/** The op of such nodes. Only plans have it; it is not in the registry. */
const exchangeOp: OpDefinition = {
  name: "exchange",
  key: "exchange",
  inputs: ["x"],
  outputs: ["y"],
  params: { kind: "", axes: [] as readonly string[], shape: [] as readonly number[], dtype: "", purpose: "" },
  shape: (_, { shape, dtype }) => ({ y: { shape: shape as readonly number[], dtype: dtype as DType } }),
};

/** What a node exchanges: undefined for nodes that compute. */
export const exchangeOf = ({ op, params }: ProgramNode) =>
  op === exchangeOp
    ? {
        kind: params.kind as Exclude<Move["kind"], "slice">,
        axes: params.axes as readonly string[],
        purpose: params.purpose as string,
      }
    : undefined;

/** Gives each device the shape of what it would have. */
export const describeExchange: Exchange = (mesh, move, parts, purpose) => {
  const axes = move.kind === "all_reduce" ? move.axes : [move.axis];
  const count = countAlong(mesh, axes);
  return new Map(
    [...parts].map(([device, x]): [number, Tensor] => {
      const shape = [...x.shape];
      if (move.kind === "all_gather") shape[move.dim]! *= count;
      if (move.kind === "reduce_scatter") shape[move.dim]! /= count;
      if (move.kind === "all_to_all") {
        shape[move.from]! *= count;
        shape[move.to]! /= count;
      }
      const params = { kind: move.kind, axes, shape, dtype: x.dtype, purpose };
      return [device, currentTrace()!.record(exchangeOp, [x], params)[0]!];
    }),
  );
};

/** The link that the devices along some axes use: that of a machine where all of each group are in one. */
export function linkOf(mesh: Mesh, { perMachine }: Hardware, axes: readonly string[]): Link {
  const isInside = (axis: string): boolean => {
    const span = mesh.strideOf(axis) * mesh.shape[axis]!;
    return span <= perMachine && perMachine % span === 0;
  };
  return axes.every(isInside) ? "machine" : "network";
}

/** Seconds of a collective: its bytes over the link, and a latency for each step of the tree or ring, whichever is less. */
export function secondsOf(sent: number, devices: number, link: Link, { links, latency }: Hardware): number {
  return sent / links[link] + latency[link] * Math.ceil(Math.log2(devices));
}
