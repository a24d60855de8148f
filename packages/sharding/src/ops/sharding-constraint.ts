/** The op that records in a program how a value is to be split, for the pass that partitions it. */
import type { Tensor } from "@te/tensor";
import { defineOp, elementwiseRule, fail } from "@te/tensor/op";

const PARAMS = {
  /** The mesh axes that split x, and the dimension of x that each of them splits; of one dimension the outermost first. */
  axes: [] as readonly string[],
  dims: [] as readonly number[],
  /** The mesh: the names of its axes, and their sizes. */
  mesh: [] as readonly string[],
  meshShape: [] as readonly number[],
};

/** What a constraint asks for; dimensions that no axis splits are whole. */
export type ShardingConstraint = typeof PARAMS;

function checkConstraint(rank: number, { axes, dims, mesh, meshShape }: ShardingConstraint): void {
  const fn = "shardingConstraint";
  if (axes.length !== dims.length)
    fail("option", fn, `dims must name a dimension for each of the ${axes.length} axes`, dims);
  if (mesh.length !== meshShape.length)
    fail("option", fn, `meshShape must hold a size for each of the ${mesh.length} axes of the mesh`, meshShape);
  for (const [i, axis] of axes.entries()) {
    if (!mesh.includes(axis)) fail("option", fn, `an axis must be one of the mesh: ${mesh.join(", ")}`, axis);
    if (axes.indexOf(axis) !== i) fail("option", fn, "a mesh axis can split one dimension only", axis);
    if (dims[i]! >= rank) fail("option", fn, `dims must be dimensions of x, of which there are ${rank}`, dims[i]);
  }
}

/** y = x, which is to be split as the parameters say; its cotangent is to be split likewise. Takes no memory and no time. */
export const shardingConstraintOp = defineOp("sharding_constraint", {
  inputs: ["x"],
  outputs: ["y"],
  params: PARAMS,
  kinds: { axes: "strings", dims: "sizes", mesh: "strings", meshShape: "sizes" },
  view: true,
  moves: "nowhere",
  shape: ({ x }, params) => {
    checkConstraint(x.shape.length, params);
    return { y: x };
  },
  sharding: elementwiseRule,
  evaluate: ({ x }, _, { y }) => y.data.set(x.data),
  vjp: ({ grads, params }) => ({ x: constrained(grads.y, params) }),
  cases: (c) => [
    ...c.product(
      { dtype: ["float32", "bfloat16"] as const },
      ({ dtype }) => ({ x: c.normal([4, 6], { dtype }) }),
      () => ({ axes: ["tensor"], dims: [1], mesh: ["data", "tensor"], meshShape: [1, 2] }),
    ),
    c.case("whole", { x: c.normal([3]) }, { mesh: ["data"], meshShape: [2] }),
  ],
});

function constrained(x: Tensor, params: ShardingConstraint): Tensor {
  return shardingConstraintOp({ x }, params).y;
}
