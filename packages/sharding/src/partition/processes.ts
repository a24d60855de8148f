/** Collectives between processes, each of which is one device of the mesh: nodes of the program that it runs. */
import type { Tensor } from "@te/tensor";
import { expectFunction, expectObject, expectTensor, type Reduction } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";
import { allGatherOp, allReduceOp, allToAllOp, ppermuteOp, reduceScatterOp } from "../ops/collectives.js";
import { expectExchange } from "./check.js";
import type { Exchange } from "./emit.js";
import { countAlong, groupAlong, placeAlong } from "./layout.js";

/** Collectives of a group of processes, as ops of the one that has x. Parts of all lie along a first axis. */
export interface Meeting {
  /** x: one for all, of the same shape. */
  allReduce(x: Tensor, reduction: Reduction): Tensor;
  /** The x of all: [processes, ...]. */
  allGather(x: Tensor): Tensor;
  /** Its own x[place], combined. x: [processes, ...]. */
  reduceScatter(x: Tensor, reduction: Reduction): Tensor;
  /** y[k] = what the k-th has at x[place]. x: [processes, ...]. */
  allToAll(x: Tensor): Tensor;
  /** The x of the process at place sources[i], for the one at targets[i]; zeros for one at none. */
  permute(x: Tensor, sources: readonly number[], targets: readonly number[]): Tensor;
}

/** How a device of a mesh meets those that differ from it along some axes. `purpose`: the ops that ask. */
export type Meet = (mesh: Mesh, device: number, axes: readonly string[], purpose: string) => Meeting;

/** Exchanges through meetings, before and behind which what is split along another axis than the first is moved there and back. */
export function exchangeBy(meet: Meet): Exchange {
  expectFunction("exchangeBy", { meet });
  return (mesh, move, parts, purpose) => {
    expectExchange("exchangeBy", mesh, move, parts, purpose);
    const axes = move.kind === "all_reduce" ? move.axes : [move.axis];
    const count = countAlong(mesh, axes);
    return new Map(
      [...parts].map(([device, x]): [number, Tensor] => {
        const meeting = meet(mesh, device, axes, purpose);
        expectMeeting(meeting);
        switch (move.kind) {
          case "all_reduce":
            return [device, meeting.allReduce(x, move.reduction)];
          case "all_gather":
            return [device, joinFirst(meeting.allGather(x), move.dim)];
          case "reduce_scatter":
            return [device, meeting.reduceScatter(splitFirst(x, move.dim, count), move.reduction)];
          case "ppermute":
            return [device, meeting.permute(x, move.sources, move.targets)];
          case "all_to_all":
            return [device, joinFirst(meeting.allToAll(splitFirst(x, move.to, count)), move.from)];
        }
      }),
    );
  };
}

/** Exchanges with other processes: device i of a mesh is rank i. `program` is equal for equal partitioned programs. */
export const exchangeWithProcesses = (program: number): Exchange =>
  exchangeBy((mesh, device, axes, purpose) => {
    const group = { ranks: groupAlong(mesh, device, axes), place: placeAlong(mesh, device, axes), program, purpose };
    return {
      allReduce: (x, reduction) => allReduceOp({ x }, { ...group, reduction }).y,
      allGather: (x) => allGatherOp({ x }, group).y,
      reduceScatter: (x, reduction) => reduceScatterOp({ x }, { ...group, reduction }).y,
      allToAll: (x) => allToAllOp({ x }, group).y,
      permute: (x, sources, targets) => ppermuteOp({ x }, { ...group, sources, targets }).y,
    };
  });

function expectMeeting(meeting: Meeting): void {
  expectObject("exchangeBy", { "what meet gives": meeting });
  const { allReduce, allGather, reduceScatter, allToAll, permute } = meeting;
  expectFunction("exchangeBy", { allReduce, allGather, reduceScatter, allToAll, permute });
}

/** x cut into equal parts along a dimension, which become its first: [parts, ...]. */
function splitFirst(x: Tensor, dim: number, parts: number): Tensor {
  const { shape } = x;
  const cut = x.reshape([...shape.slice(0, dim), parts, shape[dim]! / parts, ...shape.slice(dim + 1)]);
  if (dim === 0) return cut;
  const others = Array.from({ length: cut.rank }, (_, i) => i).filter((i) => i !== dim);
  return cut.transpose([dim, ...others]);
}

/** The parts along the first dimension put together along another. */
function joinFirst(parts: Tensor, dim: number): Tensor {
  expectTensor("exchangeBy", { "what a meeting gives": parts });
  const [count, ...shape] = parts.shape as [number, ...number[]];
  const order = Array.from({ length: shape.length }, (_, i) => i + 1);
  const moved = dim === 0 ? parts : parts.transpose([...order.slice(0, dim), 0, ...order.slice(dim)]);
  return moved.reshape(shape.map((length, i) => (i === dim ? count * length : length)));
}
