/** Collectives between processes, each of which is one device of the mesh: nodes of the program that it runs. */
import type { Tensor } from "@te/tensor";
import { allGatherOp, allReduceOp, allToAllOp, ppermuteOp, reduceScatterOp } from "../ops/collectives.js";
import type { Exchange } from "./emit.js";
import { groupAlong, placeAlong } from "./layout.js";

/**
 * Exchanges with other processes: device i of a mesh is rank i. `program` is equal for equal partitioned programs.
 * The ops have the parts of the processes along a first axis; what is split along another is moved there and back.
 */
export const exchangeWithProcesses =
  (program: number): Exchange =>
  (mesh, move, parts, purpose) => {
    const axes = move.kind === "all_reduce" ? move.axes : [move.axis];
    return new Map(
      [...parts].map(([device, x]): [number, Tensor] => {
        const ranks = groupAlong(mesh, device, axes);
        const group = { ranks, place: placeAlong(mesh, device, axes), program, purpose };
        switch (move.kind) {
          case "all_reduce":
            return [device, allReduceOp({ x }, { ...group, reduction: move.reduction }).y];
          case "all_gather":
            return [device, joinFirst(allGatherOp({ x }, group).y, move.dim)];
          case "reduce_scatter": {
            const split = splitFirst(x, move.dim, ranks.length);
            return [device, reduceScatterOp({ x: split }, { ...group, reduction: move.reduction }).y];
          }
          case "ppermute":
            return [device, ppermuteOp({ x }, { ...group, sources: move.sources, targets: move.targets }).y];
          case "all_to_all":
            return [device, joinFirst(allToAllOp({ x: splitFirst(x, move.to, ranks.length) }, group).y, move.from)];
        }
      }),
    );
  };

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
  const [count, ...shape] = parts.shape as [number, ...number[]];
  const order = Array.from({ length: shape.length }, (_, i) => i + 1);
  const moved = dim === 0 ? parts : parts.transpose([...order.slice(0, dim), 0, ...order.slice(dim)]);
  return moved.reshape(shape.map((length, i) => (i === dim ? count * length : length)));
}
