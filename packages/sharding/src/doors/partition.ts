/** @te/sharding/partition, for those who read, test and run partitioned programs: the partitioner and its parts. */
import "../index.js";

export { countAlong, formatLayout, partShape, partsOn } from "../partition/checked-layout.js";
export { type Exchange, emit, type Parts } from "../partition/emit.js";
export type { Layout } from "../partition/layout.js";
export { overlapExchanges } from "../partition/overlap.js";
export { partition, suggestLayouts } from "../partition/partition.js";
export type {
  Collective,
  JoinedStep,
  MoveStep,
  OpStep,
  PartitionedProgram,
  SplitValue,
  Step,
} from "../partition/partitioned.js";
export { exchangeBy, type Meet, type Meeting } from "../partition/processes.js";
export { type Move, sentBytes } from "../partition/reshard.js";
export { isForMesh } from "../partition/together.js";
export { exchangeInProgram } from "../partition/virtual.js";
export { devicesOf, sentSoFar } from "../world.js";
