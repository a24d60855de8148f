// @te/testkit: suites, oracles, recorded results and comparisons that the tests of all packages use.
export { type BackendSuiteOptions, casesOf, judgedOps, testBackend } from "./backend-suite.js";
export { testBusyWorkers } from "./busy-workers.js";
export { bytesAfterCollection } from "./collect.js";
export {
  type Comparable,
  expectClose,
  expectGradients,
  findBitDifference,
  findCodeDifference,
  findDifference,
  findGradientDifference,
  type Values,
  valuesOf,
} from "./compare.js";
export { onEachDevice, presentDevices } from "./devices.js";
export { fillArray, fillCase, generator, normal, seedOf, toTensor } from "./fill.js";
export { type RecordedFp8Options, testRecordedFp8 } from "./golden-fp8.js";
export {
  argumentsOf,
  deviceVariables,
  expectInitialVariables,
  expectRecorded,
  firstRows,
  initialVariables,
  type LimitFor,
  optionsOf,
  type Replay,
  recordedLoss,
  recordedParameters,
  replay,
} from "./golden-replay.js";
export { type ModuleOf, testRecorded } from "./golden-suite.js";
export { type Golden, type GoldenCase, readGolden } from "./goldens.js";
export { drawCotangents, gradientOfCase } from "./gradient.js";
export {
  type Differentiable,
  findCaseGradientError,
  findGradientError,
  type GradientCheckOptions,
} from "./gradient-check.js";
export { testGradients } from "./gradient-suite.js";
export { type Judged, type JudgeOptions, judgeFunction, valueAndGradients } from "./judge-function.js";
export type { AllcloseOptions } from "./matchers.js";

import "./matchers.js";

export { expectError } from "./expect-error.js";
export { callOp, findOp, oracle, runProgram, widenArray } from "./oracle.js";
export { drawLayout, findPartitionError, runPartitioned, testPartitioned } from "./partition-suite.js";
export { type Ended, freePort, runAlone, runTogether, STARTERS, type Starter } from "./processes.js";
export { findProgramError } from "./random-programs.js";
export { limitOfGradient, limitOfOutput } from "./rows.js";
export { runCase } from "./run-case.js";
export { findShardingError, ruleOfCase, splittable, testSharding } from "./sharding-suite.js";
export { type Declined, declinedOps, explain, formatDeclined, type SupportRow, support } from "./support.js";
export { maskOf, type NormalsOptions, normals } from "./tensors.js";
export { errorN, errorX, forSize, type Limit, limitOf, type Row, widen } from "./tolerance.js";
export { bits, describeLeaves, perturbed } from "./variables.js";
