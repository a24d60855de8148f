/** Collectives of a program that is planned: nodes that say what a process exchanges with others, and compute nothing. */
import type { Mesh } from "@te/sharding";
import { type Collective, countAlong, type Exchange, exchangeBy } from "@te/sharding/partition";
import type { Tensor } from "@te/tensor";
import { byteSize, type Program, type ProgramNode } from "@te/tensor/backend";
import { bytesOf, currentTrace, type DType, type OpDefinition } from "@te/tensor/op";
import type { Hardware, Link } from "./hardware.js";

/** The op of such nodes. Only plans have it; it is not in the registry. */
const exchangeOp: OpDefinition = {
  name: "exchange",
  key: "exchange",
  inputs: ["x"],
  outputs: ["y"],
  exchanges: true,
  params: {
    kind: "",
    axes: [] as readonly string[],
    devices: 1,
    shape: [] as readonly number[],
    dtype: "",
    purpose: "",
  },
  shape: (_, { shape, dtype }) => ({ y: { shape: shape as readonly number[], dtype: dtype as DType } }),
};

/** What a node exchanges, and how many devices take part: undefined for nodes that compute. */
export const exchangeOf = ({ op, params }: Pick<ProgramNode, "op" | "params">) =>
  op === exchangeOp
    ? {
        kind: params.kind as Collective["kind"],
        axes: params.axes as readonly string[],
        devices: params.devices as number,
      }
    : undefined;

/** Gives each device the shape of what it would have, by the steps that a process takes. */
export const describeExchange: Exchange = exchangeBy((mesh, _, axes, purpose) => {
  const devices = countAlong(mesh, axes);
  const record = (kind: Collective["kind"], x: Tensor, shape: readonly number[]): Tensor =>
    currentTrace()!.record(exchangeOp, [x], { kind, axes, devices, shape, dtype: x.dtype, purpose })[0]!;
  return {
    allReduce: (x) => record("all_reduce", x, x.shape),
    allGather: (x) => record("all_gather", x, [devices, ...x.shape]),
    reduceScatter: (x) => record("reduce_scatter", x, x.shape.slice(1)),
    allToAll: (x) => record("all_to_all", x, x.shape),
    permute: (x) => record("ppermute", x, x.shape),
  };
});

/** Bytes that the CPU's kernels exchange in pieces of, and up to which every process combines everything. */
const PIECE = 2 ** 22;
const SMALL = 2 ** 16;

/**
 * Bytes of scratch that the CPU's kernel of a collective takes: the pieces of all that take part. It is there only where
 * processes run together, so that it cannot be asked.
 */
export function scratchOfExchange({ values }: Program, node: ProgramNode): number {
  const { kind, devices } = exchangeOf(node)!;
  if (kind !== "all_reduce" && kind !== "reduce_scatter") return 0;
  const x = values[node.inputs[0]!]!;
  const bytes = byteSize(x);
  if (kind === "all_reduce" && bytes <= SMALL) return bytes * devices;
  const width = bytesOf(x.dtype);
  const share = Math.ceil(bytes / width / devices) * width;
  return Math.min(share, PIECE) * devices;
}

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
