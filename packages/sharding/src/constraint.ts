import type { Tensor } from "@te/tensor";
import { expectTensor, fail } from "@te/tensor/op";
import { activeMesh, type Mesh, meshAxisSize } from "./mesh.js";
import { PartitionSpec } from "./partition-spec.js";
import { logicalToMeshAxes } from "./rules.js";

/**
 * Asks that x be split as its logical axis names say; returns x. No names (null, undefined or an empty list) ask for
 * nothing. There must be one name, or null for whole, per dimension, whether or not a mesh is active.
 *
 * Without an active mesh, and where no mesh axis larger than 1 is asked for, the result is x itself. Splitting over a
 * larger axis throws "unsupported".
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
  const spec = logicalToMeshAxes(names);
  const mesh = activeMesh();
  if (mesh) checkWhole(fn, spec, mesh);
  return x;
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
  const mesh = activeMesh();
  if (mesh) checkWhole(fn, spec, mesh);
  return x;
}

function checkWhole(fn: string, spec: PartitionSpec, mesh: Mesh): void {
  const split = spec.axes.filter((axis) => meshAxisSize(axis, mesh) > 1);
  if (split.length === 0) return;
  const rule = `splitting a tensor over ${split.join(" and ")} of ${mesh} is not supported yet`;
  fail(
    "unsupported",
    fn,
    rule,
    spec.toString(),
    "Use a mesh with one device, or leave these axes out of the MeshResource.",
  );
}
