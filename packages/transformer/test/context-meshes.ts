/** Meshes with a context-parallel axis, and the load-balanced order of sequences over them. */
import { Mesh, MeshResource, meshAxisSize } from "@te/sharding";
import type { Tensor } from "@te/tensor";
import { inverseReorderCausalLoadBalancing, ReorderStrategy, reorderCausalLoadBalancing } from "../src/index.js";
import type { Parallelism } from "./mesh-setup.js";

const context = (name: string, shape: Readonly<Record<string, number>>): Parallelism => ({
  name,
  mesh: new Mesh(shape),
  resource: new MeshResource({
    cpResource: "context",
    ...("data" in shape && { dpResource: "data" }),
    ...("tensor" in shape && { tpResource: "tensor" }),
  }),
  sequence: false,
});

/** One device: the axis splits nothing. */
export const ALONE = context("one", { context: 1 });

export const CONTEXTS: readonly Parallelism[] = [
  context("cp2", { context: 2 }),
  context("cp4", { context: 4 }),
  context("dp2 x cp2", { data: 2, context: 2 }),
  context("tp2 x cp2", { context: 2, tensor: 2 }),
];

/** x with its sequence in the order of DualChunkSwap for the active mesh, and back. */
export const reordered = (x: Tensor, axis: number): Tensor =>
  reorderCausalLoadBalancing(x, ReorderStrategy.DualChunkSwap, meshAxisSize("context"), axis);
export const inOrder = (x: Tensor, axis: number): Tensor =>
  inverseReorderCausalLoadBalancing(x, ReorderStrategy.DualChunkSwap, meshAxisSize("context"), axis);
