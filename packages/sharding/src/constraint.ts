/** Constraints: what a function asks of the partitioner, recorded in the program that is traced from it. */
import type { Tensor } from "@te/tensor";
import { expectArray, expectTensor, fail } from "@te/tensor/op";
import { activeMesh, meshAxisSize } from "./mesh.js";
import { isResourceGiven } from "./mesh-resource.js";
import { shardingConstraintOp } from "./ops/sharding-constraint.js";
import { PartitionSpec } from "./partition-spec.js";
import { currentLogicalAxisRules, logicalToMeshAxes } from "./rules.js";

/**
 * Asks that x be split as its logical axis names say. No names (null, undefined or an empty list) ask for nothing. There must
 * be one name, or null for whole, per dimension, whether or not a mesh is active.
 *
 * The result has the values of x. Under a mesh of several devices it is split, or whole where no axis with more than one
 * device splits it; in a traced program stands a `sharding_constraint` with these axes, and the cotangent of x is asked the
 * same. Without such a mesh the result is x itself. Throws where a dimension does not divide by the number of its parts.
 */
export function withShardingConstraintByLogicalAxes(
  x: Tensor,
  names: readonly (string | null)[] | null | undefined,
): Tensor {
  const fn = "withShardingConstraintByLogicalAxes";
  if (names === null || names === undefined) return x;
  if (!Array.isArray(names)) fail("option", fn, "logical names must be an array", names);
  expectTensor(fn, { x });
  if (names.length === 0) return x;
  if (names.length !== x.rank) {
    fail("shape", fn, `there must be one logical name per dimension of x: ${x.dtype}[${x.shape.join(",")}]`, names);
  }
  return constrain(x, logicalToMeshAxes(names));
}

/**
 * Splits a parameter as the logical names of its axes say, where a mesh is active and the rules in force split any of them;
 * otherwise it stays as it is. Its gradient lies likewise.
 */
export function splitParameter(x: Tensor, names: readonly (string | null)[]): Tensor {
  expectTensor("splitParameter", { x });
  expectArray("splitParameter", "logical names", { names });
  const hasRules = isResourceGiven() || currentLogicalAxisRules().length > 0;
  if (names.length !== x.rank || !activeMesh() || !hasRules) return x;
  const spec = logicalToMeshAxes(names);
  return spec.axes.some((axis) => meshAxisSize(axis) > 1) ? constrain(x, spec) : x;
}

/** Asks that x be split as the spec says over the active mesh; the same rules. */
export function withShardingConstraint(x: Tensor, spec: PartitionSpec): Tensor {
  const fn = "withShardingConstraint";
  expectTensor(fn, { x });
  if (!(spec instanceof PartitionSpec))
    fail("option", fn, "spec must be a PartitionSpec", spec ?? String(spec), "Write new PartitionSpec(...).");
  if (spec.entries.length > x.rank) {
    fail("shape", fn, `${spec} describes ${spec.entries.length} dimensions`, `x: ${x.dtype}[${x.shape.join(",")}]`);
  }
  return constrain(x, spec);
}

function constrain(x: Tensor, spec: PartitionSpec): Tensor {
  const mesh = activeMesh();
  if (!mesh) return x;
  const pairs = spec.entries.flatMap((entry, dim) => [entry ?? []].flat().map((axis) => [axis, dim] as const));
  const split = pairs.filter(([axis]) => meshAxisSize(axis, mesh) > 1);
  if (mesh.size === 1) return x;
  const { y } = shardingConstraintOp(
    { x },
    {
      axes: split.map(([axis]) => axis),
      dims: split.map(([, dim]) => dim),
      mesh: mesh.axisNames,
      meshShape: mesh.axisNames.map((axis) => mesh.shape[axis]!),
    },
  );
  return y;
}
