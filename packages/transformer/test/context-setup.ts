/** Meshes with a context-parallel axis, orders of their sequences, and functions over them against one device. */
import { Mesh, MeshResource, meshAxisSize } from "@te/sharding";
import type { DType, Tensor } from "@te/tensor";
import {
  findDifference,
  findGradientDifference,
  forSize,
  limitOf,
  type Row,
  valueAndGradients,
  widen,
} from "@te/testkit";
import { expect } from "vitest";
import { inverseReorderCausalLoadBalancing, ReorderStrategy, reorderCausalLoadBalancing } from "../src/index.js";
import { type Parallelism, under } from "./mesh-setup.js";

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

export type Call = (inputs: any) => Tensor;

/** The same over a mesh and on one device, and the row of the limits by the name of what is compared. */
interface Subject {
  readonly split: Call;
  readonly whole: Call;
  readonly row: (name: string) => Row;
  /** The dtype that the layer computes in, where that of its result is another. */
  readonly dtype?: DType;
}

/** Throws unless `split` over the mesh gives what `whole` gives on one device, and its gradients. */
export function expectAlike(over: Parallelism, { split, whole, row, dtype }: Subject, inputs: unknown): void {
  const { exact } = valueAndGradients(whole, inputs);
  const { y, gradients } = under(over, () => valueAndGradients(split, inputs));
  const limit = (name: string, t: Tensor) => forSize(widen(limitOf(row(name), dtype ?? t.dtype), 2), t.size);
  const like = (t: Tensor, i: number) => ({ ...exact[i]!, dtype: t.dtype });
  expect(findDifference(y, like(y, 0), limit("y", y)), "y").toBeUndefined();
  Object.entries(gradients).forEach(([name, t], i) => {
    expect(findGradientDifference(t, like(t, i + 1), limit(name, t)), name).toBeUndefined();
  });
}
