export { withShardingConstraint, withShardingConstraintByLogicalAxes } from "./constraint.js";
export * from "./logical-axes.js";
export { activeMesh, Mesh, meshAxisSize, withMesh } from "./mesh.js";
export {
  activeResourceAxis,
  globalMeshResource,
  globalShardGuard,
  MeshResource,
  type MeshResourceOptions,
  type ResourceField,
} from "./mesh-resource.js";
export { NamedSharding, type PartitionEntry, PartitionSpec } from "./partition-spec.js";
export { currentLogicalAxisRules, extendLogicalAxisRules, logicalAxisRules, logicalToMeshAxes } from "./rules.js";
