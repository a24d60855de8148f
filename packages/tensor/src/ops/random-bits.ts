/** Counter-based random bits, with the layout of JAX's partitionable threefry. */
import { type Aval, aval, checkShape } from "../aval.js";
import { defineOp } from "../define-op.js";
import { fail } from "../errors.js";
import { expectNumber } from "../expect.js";
import { threefry2x32, threefryCounters } from "../reference/threefry.js";
import { axisTerm, rule, wholeRule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { shiftRight } from "./bits.js";
import { expectDType, expectShape } from "./check.js";
import { checkPlace, forRuns, type Place } from "./draw.js";

function expectKey(fn: string, key: Aval): void {
  expectDType(fn, { key }, "uint32");
  expectShape(fn, { key }, [2], "a random key, as random.key and random.split give");
}

/**
 * y_i = the `width` low bits of word0 ^ word1 of counter i (row-major): uint32, or uint8 for width 8. Where y is a part of a
 * draw of shape `of` that begins at `start`, i counts there.
 */
export const randomBitsOp = defineOp("random_bits", {
  inputs: ["key"],
  outputs: ["y"],
  params: {
    shape: [] as readonly number[],
    width: 32,
    of: [] as readonly number[],
    start: [] as readonly number[],
  },
  kinds: { of: "sizes", start: "sizes" },
  shape: ({ key }, { shape, width, of, start }) => {
    expectKey("random.bits", key);
    checkPlace("random.bits", shape, { of, start });
    if (width !== 32 && width !== 16 && width !== 8) fail("option", "random.bits", "width must be 32, 16 or 8", width);
    return { y: aval(checkShape("random.bits", shape), width === 8 ? "uint8" : "uint32") };
  },
  sharding: (_, { shape }) => rule(`2 -> ${axisTerm(shape)}`),
  onShard({ key }, params, shard, op) {
    const y = shard.output("y");
    return op({ key }, { ...params, shape: shard.shapeOf(y), ...shard.placeOf(y, params) });
  },
  evaluate({ key }, { width, of, start }, { y }) {
    const to = y.data;
    const mask = width === 32 ? -1 : (1 << width) - 1;
    forRuns(y.shape, { of, start }, (at, counter, length) =>
      threefryCounters(key.data, counter, length, (i, word0, word1) => {
        to[at + i] = (word0 ^ word1) & mask;
      }),
    );
  },
  vjp: () => ({}),
  cases: (c) => [
    ...c.product(
      { width: [32, 16, 8], shape: [[33], [2, 31], [], [0]] },
      () => ({ key: c.values([2], [7, 4000000000], "uint32") }),
      ({ width, shape }) => ({ width, shape }),
    ),
    c.case(
      "a part",
      { key: c.values([2], [7, 4000000000], "uint32") },
      { shape: [2, 3, 5], of: [4, 3, 8], start: [1, 0, 3] },
    ),
    c.bench(
      "16 MiB",
      { key: c.values([2], [7, 4000000000], "uint32") },
      { shape: [4, 1024, 1024] },
      { bytes: 2 ** 24 },
    ),
  ],
});

/**
 * What dropout keeps: bool, true with probability 1 - rate. An element is kept when its uniform number, a multiple of 2^-23,
 * is below float32(1 - rate).
 */
export function drawKept(key: Tensor, rate: number, shape: readonly number[], place: Place): Tensor {
  expectNumber("drawKept", { rate });
  const limit = Math.ceil(Math.fround(1 - rate) * 2 ** 23);
  return shiftRight(randomBitsOp({ key }, { shape, ...place }).y, 9).lt(limit);
}

/** y_i = the two words of counter i: `count` keys that are independent of each other and of the given one. */
export const randomSplitOp = defineOp("random_split", {
  inputs: ["key"],
  outputs: ["y"],
  params: { count: 2 },
  shape: ({ key }, { count }) => {
    expectKey("random.split", key);
    if (!Number.isInteger(count) || count < 0)
      fail("option", "random.split", "count must be a non-negative integer", count);
    return { y: aval([count, 2], "uint32") };
  },
  sharding: () => rule("2 -> n 2"),
  onShard: ({ key }, params, shard, op) => ({ y: shard.part(shard.output("y"), op({ key }, params).y) }),
  evaluate({ key }, { count }, { y }) {
    const to = y.data;
    threefryCounters(key.data, 0, count, (i, word0, word1) => {
      to[2 * i] = word0;
      to[2 * i + 1] = word1;
    });
  },
  vjp: () => ({}),
  cases: (c) =>
    c.product(
      { count: [2, 3, 0] },
      () => ({ key: c.values([2], [0, 42], "uint32") }),
      ({ count }) => ({ count }),
    ),
});

/** y = the two words of the counter (0, data): a key for each value of data. */
export const randomFoldInOp = defineOp("random_fold_in", {
  inputs: ["key", "data"],
  outputs: ["y"],
  params: {},
  shape: ({ key, data }) => {
    expectKey("random.foldIn", key);
    expectDType("random.foldIn", { data }, "uint32");
    expectShape("random.foldIn", { data }, [], "one number");
    return { y: key };
  },
  sharding: wholeRule,
  evaluate({ key, data }, _, { y }) {
    const words = new Int32Array(2);
    threefry2x32(key.data[0]!, key.data[1]!, 0, data.data[0]!, words);
    y.data.set(words);
  },
  vjp: () => ({}),
  cases: (c) =>
    c.product({ data: [0, 7, 4294967295] }, ({ data }) => ({
      key: c.values([2], [0, 42], "uint32"),
      data: c.values([], [data], "uint32"),
    })),
});
