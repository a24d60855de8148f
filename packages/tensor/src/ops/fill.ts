/** The ops `fill` and `iota`, which make tensors from parameters alone. */
import { aval, checkShape, normalizeAxis, stridesOf } from "../aval.js";
import { defineOp } from "../define-op.js";
import { checkDType, type DType } from "../dtype.js";
import { checkHolds } from "../integers.js";
import { storeNumbers } from "../reference/host.js";
import { axisTerm, rule } from "../sharding/rule.js";

/** y = one value everywhere. */
export const fillOp = defineOp("fill", {
  inputs: [],
  outputs: ["y"],
  folds: "constant",
  params: { value: 0, shape: [] as readonly number[], dtype: "float32" as DType },
  shape: (_, { value, shape, dtype }) => {
    checkHolds("full", "value", value, checkDType("full", dtype), "Choose a float dtype.");
    return { y: aval(checkShape("full", shape), dtype) };
  },
  sharding: (_, { shape }) => rule(`-> ${axisTerm(shape)}`),
  onShard: (_, params, shard, op) => op({}, { ...params, shape: shard.shapeOf(shard.output("y")) }),
  evaluate: (_, { value }, { y }) => storeNumbers(y, (to) => void to.fill(value)),
  vjp: () => ({}),
  cases: (c) => [
    ...c.product(
      {
        dtype: [
          "float32",
          "bfloat16",
          "float16",
          "float8_e4m3fn",
          "float8_e5m2",
          "int32",
          "uint32",
          "uint8",
          "bool",
        ] as const,
        shape: [[], [31], [2, 33], [0]],
      },
      () => ({}),
      ({ dtype, shape }) => ({ value: 1, shape, dtype }),
    ),
    c.bench("16 MiB float32", {}, { shape: [4, 1024, 1024] }, { bytes: 2 ** 24 }),
  ],
});

/** y = its own index along `axis`. */
export const iotaOp = defineOp("iota", {
  inputs: [],
  outputs: ["y"],
  params: { shape: [0] as readonly number[], dtype: "int32" as DType, axis: 0 },
  kinds: { axis: "size" },
  shape: (_, { shape, dtype, axis }) => {
    const length = shape[normalizeAxis("iota", axis, checkShape("iota", shape).length)]!;
    checkDType("iota", dtype);
    if (length > 0) checkHolds("iota", "the last index", length - 1, dtype, "Choose a wider dtype.");
    return { y: aval(shape, dtype) };
  },
  sharding: (_, { shape }) => rule(`-> ${axisTerm(shape)}`),
  // In all its length along `axis`, and of that the part: the indices begin elsewhere in each.
  onShard(_, params, shard, op) {
    const of = shard.output("y");
    const lengths = shard.shapeOf(of);
    const line = of.shape.map((d, i) => (i === params.axis ? d : lengths[i]!));
    const dims = of.dims.map((factors, i) => (i === params.axis ? factors : []));
    return { y: shard.part({ shape: line, dims }, op({}, { ...params, shape: line }).y) };
  },
  evaluate(_, { shape, axis }, { y }) {
    const at = normalizeAxis("iota", axis, shape.length);
    const step = stridesOf(shape)[at]!;
    const length = shape[at]!;
    storeNumbers(y, (to) => {
      for (let i = 0; i < to.length; i++) to[i] = Math.floor(i / step) % length;
    });
  },
  vjp: () => ({}),
  cases: (c) => [
    ...c.product(
      { dtype: ["int32", "uint32", "float32", "bfloat16"] as const, shape: [[33], [4, 31], [2, 3, 5]], axis: [0, -1] },
      () => ({}),
      ({ dtype, shape, axis }) => ({ shape, dtype, axis: axis < 0 ? shape.length - 1 : axis }),
    ),
    c.bench("16 MiB int32", {}, { shape: [4, 1024, 1024], axis: 2 }, { bytes: 2 ** 24 }),
  ],
});
