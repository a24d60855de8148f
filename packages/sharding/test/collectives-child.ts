/** What each process of collectives.test.ts runs: every collective against what the parts of all processes give. */
import assert from "node:assert/strict";
import "@te/kernels-cpu";
import {
  arange,
  concat,
  currentBackend,
  type DType,
  full,
  maximum,
  minimum,
  random,
  stack,
  type Tensor,
  tensor,
  zerosLike,
} from "@te/tensor";
import { initDistributed, processCount, processIndex } from "../src/index.js";
import { allGatherOp, allReduceOp, allToAllOp, ppermuteOp, reduceScatterOp } from "../src/ops/collectives.js";

initDistributed();
const rank = processIndex();
assert.equal(processCount(), 3);

const TYPES: readonly DType[] = ["float32", "bfloat16", "float16", "int32", "uint32", "uint8", "bool"];
const REDUCTIONS = ["sum", "max", "min"] as const;
/** Large values take an emulated GPU too long. */
const onCpu = currentBackend().name === "cpu";
/** Combined by all at once; shared out unevenly; and shared out in several pieces. */
const SIZES = [0, 1, 1001, 100_003, onCpu ? 6_500_003 : 200_003];

/** Around, an exchange of two, one way, a place to itself and another to nobody, and nothing at all. */
const PERMUTATIONS: readonly (readonly [sources: number[], targets: number[]])[] = [
  [
    [0, 1, 2],
    [1, 2, 0],
  ],
  [
    [0, 1],
    [1, 0],
  ],
  [[1], [0]],
  [
    [0, 1],
    [0, 2],
  ],
  [[], []],
];

/** What a process holds. Sums of whole numbers wrap around, and the largest of NaN and a number is NaN. */
function partOf(of: number, shape: readonly number[], dtype: DType): Tensor {
  const values = random.normal(random.key(of), shape);
  if (dtype === "bool") return values.gt(0);
  if (dtype === "int32" || dtype === "uint32") return values.mul(1e9).astype("int32").astype(dtype);
  if (dtype === "uint8") return values.abs().mul(50).astype(dtype);
  if (of !== 1 || values.size < 2) return values.astype(dtype);
  const [first, ...rest] = values.shape as [number, ...number[]];
  return concat([full([1, ...rest], Number.NaN), values.slice([1, ...rest.map(() => 0)], [first, ...rest])], 0).astype(
    dtype,
  );
}

function combined(parts: readonly Tensor[], reduction: (typeof REDUCTIONS)[number]): Tensor {
  if (reduction !== "sum") return parts.reduce(reduction === "max" ? maximum : minimum);
  const { dtype } = parts[0]!;
  if (dtype !== "bfloat16" && dtype !== "float16") return parts.reduce((a, b) => a.add(b));
  return parts
    .map((part) => part.astype("float32"))
    .reduce((a, b) => a.add(b))
    .astype(dtype);
}

async function check(name: string, y: Tensor, expected: Tensor): Promise<void> {
  assert.deepEqual([y.shape, y.dtype], [expected.shape, expected.dtype], name);
  // Codes of 16 bits, those of NaN too; on a GPU these are its own, and as float32 all are NaN.
  const isNarrow = y.dtype === "bfloat16" || y.dtype === "float16";
  const read = (x: Tensor) => (isNarrow && !onCpu ? x.astype("float32") : x).data();
  const [found, wanted] = [await read(y), await read(expected)];
  const at = found.findIndex((value: number, i: number) => !Object.is(value, wanted[i]));
  assert.equal(at, -1, `${name}: element ${at} is ${found[at]}, not ${wanted[at]}`);
}

// The members of a group may be in any order, and its sums are taken in that order.
for (const ranks of [
  [0, 1, 2],
  [2, 0, 1],
  [2, 0],
]) {
  const place = ranks.indexOf(rank);
  if (place < 0) continue;
  const group = { ranks, place, program: 1, purpose: "a test" };
  for (const dtype of TYPES) {
    const parts = ranks.map((of) => partOf(of, [ranks.length, 5, 7], dtype));
    const name = `${dtype} of ${ranks}`;
    await check(`all_gather ${name}`, allGatherOp({ x: parts[place]! }, group).y, stack(parts));
    const exchanged = stack(parts.map((part) => part.at(place)));
    await check(`all_to_all ${name}`, allToAllOp({ x: parts[place]! }, group).y, exchanged);
    for (const [sources, targets] of PERMUTATIONS) {
      if ([...sources, ...targets].some((at) => at >= ranks.length)) continue;
      const source = sources[targets.indexOf(place)];
      const { y } = ppermuteOp({ x: parts[place]! }, { ...group, sources, targets });
      await check(`ppermute ${sources} to ${targets} ${name}`, y, source === undefined ? zerosLike(y) : parts[source]!);
    }
    const reductions = REDUCTIONS.filter((each) => dtype !== "bool" || each !== "sum");
    for (const reduction of reductions) {
      const { y } = reduceScatterOp({ x: parts[place]! }, { ...group, reduction });
      await check(`reduce_scatter ${reduction} ${name}`, y, combined(parts, reduction).at(place));
    }
    for (const size of dtype === "bfloat16" ? SIZES : SIZES.slice(0, -1)) {
      const lines = ranks.map((of) => partOf(of, [size], dtype));
      for (const reduction of reductions) {
        const all = allReduceOp({ x: lines[place]! }, { ...group, reduction }).y;
        await check(`all_reduce ${reduction} of ${size} ${name}`, all, combined(lines, reduction));
      }
    }
  }
  if (ranks.length === 2) {
    const pieces = ranks.map((of) => Uint8Array.from({ length: 17_000_003 }, (_, i) => (i >> of) & 255));
    const { y } = allReduceOp({ x: tensor(pieces[place]!, { dtype: "uint8" }) }, { ...group, reduction: "max" });
    await check(
      "all_reduce of 17 MB in pieces",
      y,
      tensor(pieces[0]!.map((value, i) => Math.max(value, pieces[1]![i]!))),
    );
  }
  // More than goes into one message.
  if (ranks.length === 2 && onCpu) {
    const members = ranks.map((of) => arange(17_000_000).add(of));
    const { y: other } = ppermuteOp({ x: members[place]! }, { ...group, sources: [0, 1], targets: [1, 0] });
    await check("ppermute of 68 MB", other, members[1 - place]!);
    await check("all_gather of 136 MB", allGatherOp({ x: members[place]! }, group).y, stack(members));
    const halves = members.map((part) => part.reshape([2, -1]));
    const { y } = reduceScatterOp({ x: halves[place]! }, { ...group, reduction: "sum" });
    await check("reduce_scatter of 68 MB", y, combined(halves, "sum").at(place));
  }
}
console.log(`${rank} has what all together give`);
