/** What a constraint asks for, as a layout of the mesh that a program is split over. */
import type { Aval } from "@te/tensor";
import { fail, formatAval, type Params } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";
import type { ShardingConstraint } from "../ops/sharding-constraint.js";
import { countAlong } from "./layout.js";

/** Axes for each dimension of x. Throws where the constraint was written for another mesh, or a dimension does not divide. */
export function dimsOfConstraint(mesh: Mesh, x: Aval, params: Params): string[][] {
  const { axes, dims, mesh: names, meshShape } = params as unknown as ShardingConstraint;
  const isOurs = names.length === mesh.axisNames.length && names.every((name, i) => mesh.shape[name] === meshShape[i]);
  if (!isOurs) {
    const theirs = names.map((name, i) => `${name}=${meshShape[i]}`).join(", ");
    fail("state", "withShardingConstraint", `a constraint for Mesh(${theirs}) stands in a program for ${mesh}`);
  }
  const split = x.shape.map((_, dim) => axes.filter((_, i) => dims[i] === dim));
  checkDivides(mesh, "withShardingConstraint", x, split);
  return split;
}

/** Throws unless every dimension divides by the number of its parts: names both, and the nearest sizes that would do. */
export function checkDivides(mesh: Mesh, fn: string, x: Aval, dims: readonly (readonly string[])[]): void {
  for (const [dim, axes] of dims.entries()) {
    const [length, parts] = [x.shape[dim]!, countAlong(mesh, axes)];
    if (length % parts === 0) continue;
    const below = Math.floor(length / parts) * parts;
    const nearest = [below, below + parts].filter((size) => size > 0).join(" or ");
    const along = `${axes.map((axis) => `${axis}=${mesh.shape[axis]}`).join(" and ")} of ${mesh}`;
    fail(
      "shape",
      fn,
      `dimension ${dim} of ${formatAval(x)} is split into ${parts} parts along ${along}, and must be a multiple of that`,
      length,
      `Use ${nearest}, or leave the dimension whole.`,
    );
  }
}
