/** Functions over a mesh with a context-parallel axis against the same on one device. */
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
import { type Parallelism, under } from "./mesh-setup.js";

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
