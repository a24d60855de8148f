/** Right arguments of the functions and classes of the other packages. */
import { DelayedScaling, Float8CurrentScaling } from "@te/fp8";
import { zeros as zerosInit } from "@te/layers";
import { adamw, constantSchedule, sgd } from "@te/optim";
import { Mesh, MeshResource, PartitionSpec } from "@te/sharding";
import { exchangeInProgram, type Layout, type Meeting, partition } from "@te/sharding/partition";
import { makeProgram, type Tensor, zeros } from "@te/tensor";
import type { Arguments, Make } from "./valid-tensor-calls.js";

const scaleState = (m: Make) => ({ scale: m.t(1).abs(), amaxHistory: m.t(4).abs() });
const metas = (m: Make) => ({ x: scaleState(m), kernel: scaleState(m), grad: scaleState(m) });
const quantized = (m: Make, ...shape: number[]) => ({
  q: m.of("float8_e4m3fn", ...shape),
  scaleInv: m.t(1),
  amax: m.t(1),
});
const params = (m: Make) => ({ dense: { kernel: m.t(2, 3), bias: m.t(3) } });
const axes = { lhsContract: [1], rhsContract: [0] };
const run = (): number => 1;
const linear = { initValue: 0, endValue: 1, transitionSteps: 10, transitionBegin: 1 };

const mesh = new Mesh({ a: 2, b: 3 });
const layout = (): Layout => ({ dims: [["a"], ["b"]], partial: {} });
/** Of a product of matrices: it sums over a dimension that is split. */
const program = () => makeProgram((x: Tensor, y: Tensor) => x.matmul(y).sum())(zeros([4, 6]), zeros([6, 2]));
const layouts = (): Layout[] => [layout(), { dims: [["b"], []], partial: {} }];
const split = () => partition(mesh, program(), layouts());
const parts = (m: Make) => new Map([0, 1, 2, 3, 4, 5].map((device) => [device, m.t(2, 6)]));
const moves = [
  { kind: "all_reduce", axes: ["a", "b"], reduction: "sum" },
  { kind: "all_gather", axis: "a", dim: 1 },
  { kind: "reduce_scatter", axis: "b", dim: 1, reduction: "max" },
  { kind: "all_to_all", axis: "b", from: 0, to: 1 },
  { kind: "ppermute", axis: "b", sources: [0, 1], targets: [1, 2] },
] as const;
/** Of one that is alone. */
const meeting: Meeting = {
  allReduce: (x) => x,
  allGather: (x) => x.expandDims(0),
  reduceScatter: (x) => x.at(0),
  allToAll: (x) => x,
  permute: (x) => x,
};

/** By the name that the function or class is exported under. */
export const PACKAGE_CALLS: Readonly<Record<string, Arguments>> = {
  // fp8
  fp8Autocast: () => [{ enabled: true, fp8Recipe: new DelayedScaling({ amaxHistoryLen: 4 }), meshResource: null }, run],
  autocast: () => [{ enabled: true, recipe: new Float8CurrentScaling(), meshResource: null }, run],
  DelayedScaling: () => [{ margin: 0, amaxHistoryLen: 4, amaxComputeAlgo: "max" }],
  Float8CurrentScaling: () => [{}],
  updateCollections: (m) => [{ fp8_metas: { a: m.t(1) } }, { params: params(m), fp8_metas: { a: m.t(1) } }],
  fp8DotGeneral: (m) => [m.t(2, 4), m.t(4, 3), metas(m), axes, { recipe: new DelayedScaling(), bias: m.t(3) }],
  forwardDot: (m) => [quantized(m, 2, 4), quantized(m, 4, 3), axes, { dtype: "float32", bias: m.t(3) }],
  backwardDot: (m) => [quantized(m, 2, 4), quantized(m, 4, 3), quantized(m, 2, 3), axes, { dtype: "float32" }],
  biasGradient: (m) => [m.t(2, 3), m.t(3)],
  scaleFromHistory: (m) => [m.t(4), m.t(1), { dtype: "float8_e4m3fn", margin: 0, amaxComputeAlgo: "max" }],
  currentScale: (m) => [m.t(2, 3), "float8_e4m3fn"],
  dequantize: (m) => [quantized(m, 2, 3)],
  nameQuantized: (m) => [quantized(m, 2, 3), "name"],
  quantizeWith: (m) => [scaleState(m), m.t(2, 3), "float8_e4m3fn"],
  quantizedBy: (m) => [{ scale: m.t(1) }, { q: m.of("float8_e4m3fn", 2), amax: m.t(1) }],
  nextState: (m) => [scaleState(m), quantized(m, 2, 3), new DelayedScaling().quantizer("x")],
  nextMetas: (m) => [
    metas(m),
    { x: quantized(m, 2), kernel: quantized(m, 2), grad: quantized(m, 2) },
    new DelayedScaling(),
  ],
  productMetas: () => [new DelayedScaling(), (_: string, init: () => Tensor) => init(), "_0"],
  float8Max: () => ["float8_e5m2"],
  // layers
  varianceScaling: () => [1, "fan_in", "truncated_normal", { inAxis: -2, outAxis: -1 }],
  constant: () => [0.5],
  stackSlices: () => [[zerosInit, zerosInit]],
  chainSlices: () => [zerosInit],
  "layers.zeros": (m) => [m.key(), [2, 3], "float32"],
  "layers.ones": (m) => [m.key(), [2, 3], "float32"],
  parseActivations: () => ["fn", ["gelu", "linear"], { limit: 7, alpha: 1.702, glu_linear_offset: 1 }],
  checkNorm: () => ["fn", { layernormType: "layernorm", epsilon: 1e-6, zeroCenteredGamma: false }],
  checkLora: () => ["fn", { lowRankAdaptationDim: 8, lowRankAdaptationAlpha: 1 }],
  checkRate: () => ["fn", "rate", 0.5],
  checkName: () => ["fn", "name", "x"],
  dropout: (m) => [m.t(2, 3), m.key(), { rate: 0.5, broadcastDims: [0] }],
  // transformer
  rope: (m) => [m.t(1, 3, 2, 4), { positions: m.of("int32", 1, 3) }],
  "SequenceDescriptor.fromSeqlens": (m) => [m.of("int32", 2)],
  "SequenceDescriptor.fromSeqlensAndOffsets": (m) => [m.of("int32", 2, 2), m.of("int32", 2, 3)],
  "SequenceDescriptor.fromSegmentIdsAndPos": (m) => [m.of("int32", 2, 4), m.of("int32", 2, 4)],
  // sharding
  Mesh: () => [{ data: 2, tensor: 1 }],
  withMesh: () => [new Mesh({ data: 1 }), run],
  meshAxisSize: () => ["data", new Mesh({ data: 2 })],
  MeshResource: () => [{ dpResource: "data" }],
  globalShardGuard: () => [new MeshResource({}), run],
  PartitionSpec: () => ["data", null, ["a", "b"]],
  NamedSharding: () => [new Mesh({ data: 1 }), new PartitionSpec("data")],
  withShardingConstraint: (m) => [m.t(2, 3), new PartitionSpec(null, null)],
  withShardingConstraintByLogicalAxes: (m) => [m.t(2, 3), ["nvte_batch", null]],
  extendLogicalAxisRules: () => [[["embed", "data"]]],
  logicalAxisRules: () => [[["embed", "data"]], run],
  logicalToMeshAxes: () => [["embed", null]],
  countAlong: () => [mesh, ["a", "b"]],
  formatLayout: () => [layout()],
  partShape: () => [mesh, layout(), [4, 6]],
  partsOn: () => [mesh, layout(), [0, 3]],
  devicesOf: () => [mesh],
  partition: () => [mesh, program(), layouts(), [undefined]],
  suggestLayouts: () => [mesh, program()],
  emit: () => [split(), [0, 1, 2, 3, 4, 5], exchangeInProgram],
  overlapExchanges: () => [program()],
  exchangeInProgram: (m) => [mesh, m.draw.pick(moves), parts(m), "a purpose"],
  exchangeBy: () => [() => meeting],
  sentBytes: () => ["all_gather", 1024, 4],
  isForMesh: () => [{ op: "add", inputs: [], outputs: [], params: {} }],
  // optim
  adam: () => [{ learningRate: 1e-3, b1: 0.9, b2: 0.999 }],
  adamw: () => [{ learningRate: constantSchedule(1e-3), weightDecay: 0.1, mask: null }],
  sgd: () => [{ learningRate: 0.1, momentum: 0.9, nesterov: true }],
  trace: () => [{ decay: 0.9, nesterov: false }],
  chain: () => [sgd({ learningRate: 0.1 }), adamw({ learningRate: 0.1 })],
  scale: () => [0.5],
  scaleByLearningRate: () => [0.1],
  scaleBySchedule: () => [constantSchedule(0.1)],
  clipByGlobalNorm: () => [1],
  globalNorm: (m) => [params(m)],
  applyUpdates: (m) => [params(m), params(m)],
  constantSchedule: () => [0.1],
  linearSchedule: () => [linear],
  polynomialSchedule: () => [{ ...linear, power: 2 }],
  cosineDecaySchedule: () => [{ initValue: 1, decaySteps: 10, alpha: 0.1, exponent: 1 }],
  warmupCosineDecaySchedule: () => [{ initValue: 0, peakValue: 1, warmupSteps: 2, decaySteps: 10, endValue: 0 }],
  joinSchedules: () => [[constantSchedule(1), constantSchedule(2)], [5]],
  // kernels
  loadNative: () => [{ env: { TE_KERNELS: "off" }, folders: ["/"], builds: [] }],
  // checkpoint
  encodeSafetensors: (m) => [{ a: m.t(2, 3), b: m.of("bfloat16", 2) }, { note: "x" }],
  decodeSafetensors: () => [new Uint8Array([2, 0, 0, 0, 0, 0, 0, 0, 123, 125])],
  writeSafetensors: (m) => ["fuzz.safetensors", { a: m.t(2, 3) }, { note: "x" }],
  openSafetensors: () => ["fuzz.safetensors"],
  saveState: (m) => ["fuzz.state", { params: params(m), step: 3, name: "x", list: [null, true] }],
  loadState: (m) => ["fuzz.state", { template: { params: params(m) } }],
};

/** What the object that a call gives is used for: its functions with right arguments. */
export const MEMBER_CALLS: Readonly<Record<string, Arguments>> = {
  init: (m) => [params(m)],
  update: (m) => [params(m), { count: m.of("int32") }, params(m)],
};
