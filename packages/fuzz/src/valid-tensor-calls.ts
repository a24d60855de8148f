/** Right arguments of the functions of @te/tensor, which the fuzzer damages. Functions without an entry get anything. */
import { type DType, makeProgram, mul, Tensor, tensor } from "@te/tensor";
import { addOp, Shard, shardingRule } from "@te/tensor/op";
import type { Draw } from "./draw.js";
import { drawTensor, FromCallback } from "./nasty.js";

/** Makes arguments. */
export class Make {
  constructor(readonly draw: Draw) {}
  t(...shape: number[]): Tensor {
    return drawTensor(this.draw, shape);
  }
  of(dtype: DType, ...shape: number[]): Tensor {
    return drawTensor(this.draw, shape, dtype);
  }
  key(): Tensor {
    return tensor(Uint32Array.of(0, this.draw.below(2 ** 32)));
  }
}

export type Arguments = (m: Make) => readonly unknown[];

const one: Arguments = (m) => [m.t(2, 3)];
const two: Arguments = (m) => [m.t(2, 3), m.t(3)];
const bits: Arguments = (m) => [m.of("int32", 2, 3), m.of("int32", 3)];
const reduced: Arguments = (m) => [m.t(2, 3), [0], { keepDims: true }];
const axis: Arguments = (m) => [m.t(2, 3), 1];
const drawn: Arguments = (m) => [m.key(), [2, 3], { dtype: "float32" }];
/** A function of a tensor, as users write them; what it is called with is the callers' business. */
function square(x: Tensor): Tensor {
  if (!(x instanceof Tensor)) throw new FromCallback("no tensor");
  return x.mul(x).sum();
}

const ROWS = { shape: [2, 3], dtype: "float32" } as const;
const PRODUCT = { lhsContract: [1], rhsContract: [1], lhsBatch: [], rhsBatch: [] };
const shard = (): Shard =>
  new Shard(addOp.definition, shardingRule(addOp.definition, [ROWS, ROWS]), { "...0": { start: 0, size: 1 } });

const all = (names: string, args: Arguments): Record<string, Arguments> =>
  Object.fromEntries(names.split(" ").map((name) => [name, args]));

/** By the name that the function is exported under. */
export const TENSOR_CALLS: Readonly<Record<string, Arguments>> = {
  ...all("neg abs sign exp log log1p expm1 sqrt rsqrt sin cos tanh sigmoid erf erfInv floor ceil round", one),
  ...all("isFinite isNaN logicalNot flatten stopGradient zerosLike onesLike globalNorm isFloatTensor", one),
  ...all("add sub mul div rem pow maximum minimum eq ne lt le gt ge logicalAnd logicalOr logicalXor", two),
  ...all("and or xor shiftLeft shiftRight", bits),
  ...all("sum mean variance max min prod all any", reduced),
  ...all("softmax logSoftmax argmax argmin cumsum sort argsort squeeze flip expandDims logsumexp", axis),
  ...all("random.bits random.uniform random.normal random.gumbel random.exponential", drawn),
  tensor: () => [
    [
      [1, 2],
      [3, 4],
    ],
    { shape: [4], dtype: "float32" },
  ],
  full: () => [[2, 3], 1.5, { dtype: "float32" }],
  zeros: () => [[2, 3], { dtype: "float32" }],
  ones: () => [[2, 3], { dtype: "int32" }],
  fullLike: (m) => [m.t(2, 3), 2, { dtype: "float32" }],
  iota: () => [[2, 3], 1, { dtype: "int32" }],
  arange: () => [0, 10, 2, { dtype: "float32" }],
  eye: () => [3, 2, { dtype: "float32" }],
  clip: (m) => [m.t(2, 3), -1, 1],
  select: (m) => [m.of("bool", 2, 3), m.t(3), 0],
  where: (m) => [m.of("bool", 2, 3), m.t(3), 0],
  cast: (m) => [m.t(2, 3), "float8_e4m3fn", { saturate: true }],
  bitcast: (m) => [m.t(2, 3), "uint32"],
  reshape: (m) => [m.t(2, 3), [3, -1]],
  transpose: (m) => [m.t(2, 3, 4), [2, 0, 1]],
  swapAxes: (m) => [m.t(2, 3), 0, 1],
  moveAxis: (m) => [m.t(2, 3, 4), 0, 2],
  broadcastTo: (m) => [m.t(2, 1), [4, 2, 3]],
  slice: (m) => [m.t(4, 5), [1, 0], [3, 5], [1, 2]],
  pad: (m) => [m.t(2, 3), [1, 0], [0, 2], 1],
  at: (m) => [m.t(2, 3, 4), 0, ":", [1, -1, 2], null, "..."],
  take: (m) => [m.t(4, 3), m.of("int32", 2), { axis: 0 }],
  takeAlongAxis: (m) => [m.t(3, 4), m.of("int32", 3, 1), 1],
  scatterAdd: (m) => [m.of("int32", 2), m.t(2, 3), { axis: 0, size: 5 }],
  oneHot: (m) => [m.of("int32", 2), 4, { dtype: "float32" }],
  topK: (m) => [m.t(2, 5), 2],
  concat: (m) => [[m.t(2, 3), m.t(1, 3)], 0],
  stack: (m) => [[m.t(2, 3), m.t(2, 3)], 0],
  split: (m) => [m.t(4, 3), 2, 0],
  repeat: (m) => [m.t(2, 3), 2, 0],
  dot: (m) => [m.t(2, 3), m.t(3, 4), { lhsContract: [1], rhsContract: [0], bias: m.t(4), dtype: "float32" }],
  matmul: (m) => [m.t(2, 2, 3), m.t(3, 4), { dtype: "float32" }],
  einsum: (m) => ["bqd,bkd->bqk", m.t(2, 3, 4), m.t(2, 5, 4)],
  crossEntropy: (m) => [m.t(3, 4), m.of("int32", 3)],
  dynamicSlice: (m) => [m.t(4, 5), [1, 2], [2, 3]],
  dynamicUpdateSlice: (m) => [m.t(4, 5), m.t(2, 3), [1, 2]],
  tril: (m) => [m.t(3, 3), 0],
  triu: (m) => [m.t(3, 3), 0],
  "random.key": () => [7],
  "random.split": (m) => [m.key(), 2],
  "random.splitTensor": (m) => [m.key(), 2],
  "random.foldIn": (m) => [m.key(), 3],
  "random.truncatedNormal": (m) => [m.key(), -2, 2, [2, 3], { dtype: "float32" }],
  "random.bernoulli": (m) => [m.key(), 0.5, [2, 3]],
  "random.randint": (m) => [m.key(), [2, 3], 0, 10],
  "random.permutation": (m) => [m.key(), 5],
  "random.choice": (m) => [m.key(), m.t(5), [2], { replace: false }],
  "random.categorical": (m) => [m.key(), m.t(2, 5), { axis: -1, shape: [3, 2] }],
  "tree.map": (m) => [(a: unknown, b: unknown) => [a, b], { a: m.t(2) }, { a: m.t(3) }],
  "tree.flatten": (m) => [{ a: m.t(2), b: [m.t(1), null] }],
  "tree.unflatten": (m) => [{ kind: "list", items: [{ kind: "leaf" }] }, [m.t(1)]],
  "tree.formatTreeDef": () => [{ kind: "list", items: [{ kind: "leaf" }] }],
  "tree.leaves": (m) => [{ a: m.t(2) }],
  "tree.leavesWithPath": (m) => [{ a: m.t(2) }],
  jit: () => [square, { staticArgnums: [1], donateArgnums: [] }],
  makeProgram: () => [square],
  expectProgram: (m) => ["fn", makeProgram(square)(m.t(2))],
  grad: () => [square, { argnums: 0, hasAux: false }],
  valueAndGrad: () => [square, { argnums: [0], hasAux: false }],
  vjp: (m) => [square, m.t(2, 3)],
  checkpoint: () => [square, { policy: () => true }],
  checkpointName: (m) => [m.t(2), "name"],
  customVjp: () => [square, (x: Tensor) => [square(x), x], (x: Tensor, dy: Tensor) => [mul(x, dy)]],
  runTraced: (m) => [square, [m.t(2)]],
  setDevice: () => ["reference"],
  checkShape: () => ["fn", [2, 3]],
  broadcastShapes: () => ["fn", [2, 1], [3]],
  rule: () => ["... k -> ...", { whole: ["k"], reduce: {}, sizes: { k: 3 } }],
  axisTerm: () => [[2, 3], [1], "a"],
  shardingRule: () => [addOp.definition, [ROWS, ROWS], {}],
  formatRule: () => [shardingRule(addOp.definition, [ROWS, ROWS])],
  dotRule: () => [ROWS, ROWS, PRODUCT, ["1"]],
  checkPlace: () => ["fn", [2, 3], { of: [4, 3], start: [2, 0] }],
  drawKept: (m) => [m.key(), 0.5, [2, 3], { of: [4, 3], start: [2, 0] }],
  holdsBias: () => [shard(), PRODUCT],
  Shard: () => [addOp.definition, shardingRule(addOp.definition, [ROWS, ROWS]), { "...0": { start: 0, size: 1 } }],
  applyShard: (m) => [shard(), [m.of("float32", 1, 3), m.of("float32", 1, 3)], {}],
  sizeOf: () => [[2, 3]],
  stridesOf: () => [[2, 3]],
  sameShape: () => [
    [2, 3],
    [2, 3],
  ],
  freezeShape: () => [[2, 3]],
  expectIndexable: (m) => ["fn", m.t(2, 3), 1],
  wantsKernels: () => [{ TE_KERNELS: "off" }],
  normalizeAxis: () => ["fn", -1, 3],
  normalizeAxes: () => ["fn", [0, 1], 3],
  formatAval: () => [{ shape: [2], dtype: "float32" }],
  withDefaults: () => ["fn", { a: 1 }, { a: 2, b: 3 }],
  checkOptions: () => ["fn", { a: 1 }, ["a", "b"]],
  nearestName: () => ["nam", ["name", "other"]],
  promote: (m) => ["fn", m.t(2), 3],
  scalar: () => ["fn", 3, "float32"],
  sumTo: (m) => [m.t(2, 3), [3]],
  applyBinary: () => [],
};
