/** @te/sharding/partition, for those who read, test and run partitioned programs: the partitioner and its parts. */
import "../index.js";

export { type Exchange, emit, type Parts } from "../partition/emit.js";
export { countAlong, formatLayout, type Layout, partOf, partShape, partsOn, wholeLayout } from "../partition/layout.js";
export { overlapExchanges } from "../partition/overlap.js";
export { partition, suggestLayouts } from "../partition/partition.js";
export {
  type Collective,
  type JoinedStep,
  type MoveStep,
  type OpStep,
  PartitionedProgram,
  type SplitValue,
  type Step,
} from "../partition/partitioned.js";
export { exchangeBy, exchangeWithProcesses, type Meeting } from "../partition/processes.js";
export { bytesIn, type Move, sentBytes } from "../partition/reshard.js";
export { isForMesh } from "../partition/together.js";
export { exchangeInProgram } from "../partition/virtual.js";
export { devicesOf, sentSoFar } from "../world.js";
