/** Mistakes in how ops are split over a mesh, and in what is recorded for the partitioner. */
import { type Mutant, mutant } from "./mutant.js";

const ATTENTION = "transformer/src/ops/attention-rule.ts";
const CONSTRAINT = "sharding/src/constraint.ts";
const VIRTUAL = "sharding/src/partition/virtual.ts";
const JUDGE = "testkit/sharding";
const PROGRAMS = "testkit/partitioned-programs";

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
  mutant(
    "one device records how its shards lie",
    CONSTRAINT,
    "if (mesh.size === 1) return x;",
    "",
    "sharding/constraint",
  ),
  // Partition
  mutant(
    "every device keeps the first part of a sum",
    VIRTUAL,
    "cutEvenly(all, move.dim, place",
    "cutEvenly(all, move.dim, 0",
    PROGRAMS,
  ),
  mutant(
    "parts are put together backwards",
    VIRTUAL,
    "concat(members, move.dim)",
    "concat([...members].reverse(), move.dim)",
    PROGRAMS,
  ),
  mutant(
    "devices exchange with the wrong one",
    VIRTUAL,
    "cutEvenly(part, move.to, place",
    "cutEvenly(part, move.to, members.length - 1 - place",
    PROGRAMS,
  ),
  mutant(
    "a reader is served before its bucket",
    "sharding/src/partition/buckets.ts",
    "if (key !== undefined) flush(key);",
    "",
    PROGRAMS,
  ),
  mutant(
    "an axis splits two factors",
    "sharding/src/partition/choose.ts",
    "[...candidates.filter((split) => split.axis === axis), undefined]",
    "candidates.map((split) => split)",
    PROGRAMS,
  ),
  mutant(
    "an inner factor is split inside of a whole one",
    "sharding/src/partition/factors.ts",
    "if (along.length > 0 && !isOpen) return undefined;",
    "",
    PROGRAMS,
  ),
  mutant(
    "the maximum of rows is summed",
    "sharding/src/partition/choose.ts",
    "for (const axis of axes) partial[axis] = split;",
    'for (const axis of axes) partial[axis] = "sum";',
    "testkit/partitioned",
  ),
  mutant(
    "a constraint takes a sum for whole",
    "sharding/src/partition/partition.ts",
    ".filter(([axis]) => !wanted.has(axis))",
    ".filter(() => false)",
    "transformer/mesh-collectives",
  ),
  mutant(
    "a gathered weight is kept for the backward pass",
    "sharding/src/partition/partition.ts",
    "this.at - known.used <= GATHERED_FOR",
    "true",
    "transformer/mesh-collectives",
  ),
  mutant(
    "an exchange starts when all before it has run",
    "sharding/src/partition/overlap.ts",
    "needsLast ? !behind.has(each) : needed.has(each)",
    "!behind.has(each)",
    "sharding/overlap",
  ),
  mutant(
    "a weight is fetched when it is needed",
    "sharding/src/partition/overlap.ts",
    "if (before !== undefined)",
    "if (before === -1)",
    "sharding/overlap",
  ),
  mutant(
    "memory that is being sent is written over",
    "tensor/src/program/plan-memory.ts",
    "  keepExchanged(program, blocks);\n",
    "",
    "sharding/overlap",
  ),
];
