// @te/sharding: meshes, the resources and rules that name their axes, and constraints on how tensors are split.
import "./mesh-backend.js";

export { splitParameter, withShardingConstraint, withShardingConstraintByLogicalAxes } from "./constraint.js";
export { type AddressableShard, devicePut } from "./device-put.js";
export {
  BATCH_AXES,
  HEAD_AXES,
  HIDDEN_AXES,
  HIDDEN_TP_AXES,
  JOINED_AXES,
  type LogicalAxisRule,
  logicalAxisTable,
  SEQLEN_AXES,
  SEQLEN_CP_AXES,
  SEQLEN_TP_AXES,
  W_FSDP_AXES,
  W_JOINED_AXES,
  W_NO_SHARD_AXES,
  W_TP_AXES,
} from "./logical-axes.js";
export { makeArrayFromCallback } from "./make-array.js";
export { makePartitioned } from "./make-partitioned.js";
export { activeMesh, Mesh, meshAxisSize, withMesh } from "./mesh.js";
export {
  activeResourceAxis,
  globalMeshResource,
  globalShardGuard,
  isResourceGiven,
  MeshResource,
  type MeshResourceOptions,
  type ResourceField,
} from "./mesh-resource.js";
export { type ShardingConstraint, shardingConstraintOp } from "./ops/sharding-constraint.js";
export type { Index } from "./partition/layout.js";
export type { Collective, PartitionedProgram } from "./partition/partitioned.js";
export { NamedSharding, type PartitionEntry, PartitionSpec } from "./partition-spec.js";
export { currentLogicalAxisRules, extendLogicalAxisRules, logicalAxisRules, logicalToMeshAxes } from "./rules.js";
export {
  allGather,
  allToAll,
  axisIndex,
  pmax,
  pmean,
  pmin,
  ppermute,
  psum,
  psumScatter,
} from "./shard-collectives.js";
export { type ShardMapOptions, type Specs, shardMap } from "./shard-map.js";
export { agreeOnLargest, finishTogether } from "./together.js";
export { type DistributedOptions, initDistributed, processCount, processIndex } from "./world.js";
