/** Mistakes in how ops are split over a mesh, and in what is recorded for the partitioner. */
import { type Mutant, mutant } from "./mutant.js";

const ATTENTION = "transformer/src/ops/attention-rule.ts";
const CONSTRAINT = "sharding/src/constraint.ts";
const JUDGE = "testkit/sharding";

export const SHARDING: readonly Mutant[] = [
  mutant(
    "every shard adds the bias",
    "tensor/src/ops/dot-rule.ts",
    "every((factor) => shard.range(factor).start === 0)",
    "every(() => true)",
    JUDGE,
  ),
  mutant("a shard of queries counts from the first", ATTENTION, ".add(start + shift)", ".add(shift)", JUDGE),
  mutant(
    "a shard forgets that queries count from the end",
    ATTENTION,
    "bottomRight ? keys.size - queries.size : 0",
    "0",
    JUDGE,
  ),
  mutant("a shard normalises over its keys", ATTENTION, '["t", "d", "e"]', '["d", "e"]', JUDGE),
  mutant(
    "a shard turns from the first position",
    "transformer/src/ops/rope.ts",
    "positions ?? arange(size).add(start)",
    "positions",
    JUDGE,
  ),
  mutant(
    "every shard drops by the same mask",
    "layers/src/ops/dropout.ts",
    "shard.part(ofMask, drawMask(key, shape, params))",
    "drawMask(key, x.shape, params)",
    JUDGE,
  ),
  mutant("amaxes of shards are added", "fp8/src/ops/quantize.ts", ', { reduce: { "...": "max" } }', "", JUDGE),
  mutant(
    "a shard normalises its part of a row",
    "layers/src/ops/layer-norm.ts",
    '"... h, h, h -> ... h, ..., ...", { whole: ["h"] }',
    '"... h, h, h -> ... h, ..., ..."',
    JUDGE,
  ),
  mutant(
    "shards share axes that a reshape cuts elsewhere",
    "tensor/src/ops/reshape-rule.ts",
    "const size = greatestDivisor(a.left, b.left);",
    "const size = Math.min(a.left, b.left);",
    "tensor/sharding",
  ),
  mutant(
    "axes that are repeated are split",
    "tensor/src/sharding/read-rule.ts",
    '(axis[0] ?? "") && shape[i] !== this.sizes.get(axis[0]!) ? [] : axis',
    '(axis[0] ?? "") ? axis : axis',
    "tensor/sharding",
  ),
  mutant(
    "the cotangent of a constraint has none",
    "sharding/src/ops/sharding-constraint.ts",
    "({ x: constrained(grads.y, params) })",
    "({ x: grads.y })",
    "sharding/constraint",
  ),
  mutant(
    "a constraint names axes of one shard",
    CONSTRAINT,
    "meshAxisSize(axis, mesh) > 1",
    "meshAxisSize(axis, mesh) > 0",
    "sharding/constraint",
  ),
  mutant("one device records how its shards lie", CONSTRAINT, "mesh.size === 1 || ", "", "sharding/constraint"),
];
