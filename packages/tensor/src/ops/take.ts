/** Elements chosen by integer tensors, and the adjoint that adds them up again. */
import { aval, normalizeAxis, sizeOf, stridesOf } from "../aval.js";
import { iota } from "../create.js";
import { defineOp } from "../define-op.js";
import { checkDType, type DType, FLOATS, isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import type { HostArray } from "../op.js";
import { withDefaults } from "../options.js";
import { loadFloat64, storeFloat64 } from "../reference/host.js";
import { axisTerm, rule } from "../sharding/rule.js";
import type { Range } from "../sharding/shard.js";
import type { Tensor } from "../tensor.js";
import { and } from "./bits.js";
import { cast } from "./cast.js";
import { expectDType, expectInteger, expectTensor } from "./check.js";
import { checkRange } from "./check-range.js";
import { expandDims, flatten, reshape } from "./reshape.js";
import { select } from "./select.js";

/** The indices, or an error that names the first one outside [0, size). */
function checkedIndices(fn: string, indices: HostArray, size: number): Int32Array {
  const data = indices.data as Int32Array;
  for (let i = 0; i < data.length; i++) {
    if (data[i]! < 0 || data[i]! >= size) {
      fail(
        "index",
        fn,
        `every index must be in [0, ${size})`,
        `${data[i]} at position ${i}`,
        "Clip the indices or mask them out first.",
      );
    }
  }
  return data;
}

/** Whether a result is the sum of parts that hold it and zeros. */
const canBeAdded = (dtype: DType): boolean => [...FLOATS, "float64", "int32", "uint32"].includes(dtype);

/**
 * Which of the indices lie in a part of the rows that they count, and where in it; an index that lies elsewhere is 0.
 * Nothing where the part is all of the rows, which a call checks itself.
 */
function rowsHeld(
  fn: string,
  indices: Tensor,
  { start, size }: Range,
  count: number,
): { areHere: Tensor; places: Tensor } | undefined {
  if (size === count) return undefined;
  const wayOut = "Clip the indices or mask them out first.";
  const known = checkRange(indices, { fn, what: "every index", low: 0, high: count - 1, wayOut });
  const shifted = known.sub(start);
  const areHere = and(shifted.ge(0), shifted.lt(size));
  return { areHere, places: select(areHere, shifted, 0) };
}

const replaceAxis = (shape: readonly number[], axis: number, by: readonly number[]): number[] => [
  ...shape.slice(0, axis),
  ...by,
  ...shape.slice(axis + 1),
];

/** y = x with `axis` replaced by the axes of indices: y[…, i…, …] = x[…, indices[i…], …]. */
export const takeOp = defineOp("take", {
  inputs: ["x", "indices"],
  outputs: ["y"],
  params: { axis: 0 },
  checks: true,
  moves: true,
  kinds: { axis: "size" },
  shape: ({ x, indices }, { axis }) => {
    expectDType("take", { indices }, "int32");
    return { y: aval(replaceAxis(x.shape, normalizeAxis("take", axis, x.shape.length), indices.shape), x.dtype) };
  },
  // A part of the rows gives those that it has and zeros for the others, in sums.
  sharding({ x, indices }, { axis }) {
    const [names, rows] = [axisTerm(x.shape).split(" "), axisTerm(indices.shape, [], "i")];
    const whole = canBeAdded(x.dtype) ? [] : [`a${axis}`];
    return rule(`${names.join(" ")}, ${rows} -> ${names.map((name, i) => (i === axis ? rows : name)).join(" ")}`, {
      whole,
    });
  },
  onShard({ x, indices }, params, shard, op) {
    const { axis } = params;
    const held = rowsHeld("take", indices, shard.range(`a${axis}`), shard.rule.factors[`a${axis}`]!.size);
    if (!held) return op({ x, indices }, params);
    const { y } = op({ x, indices: held.places }, params);
    const along = y.shape.map((_, i) => indices.shape[i - axis] ?? 1).map((d, i) => (i < axis ? 1 : d));
    return { y: select(reshape(held.areHere, along), y, 0) };
  },
  evaluate({ x, indices }, { axis }, { y }) {
    const size = x.shape[axis]!;
    const rows = checkedIndices("take", indices, size);
    const inner = sizeOf(x.shape.slice(axis + 1));
    const outer = y.data.length ? sizeOf(x.shape.slice(0, axis)) : 0;
    for (let o = 0, to = 0; o < outer; o++) {
      for (let i = 0; i < rows.length; i++, to += inner) {
        const from = (o * size + rows[i]!) * inner;
        if (inner === 1) y.data[to] = x.data[from]!;
        else y.data.set(x.data.subarray(from, from + inner), to);
      }
    }
  },
  vjp: ({ inputs: { x, indices }, grads, params: { axis } }) =>
    isFloat(x.dtype) ? { x: scatterAdd(indices, grads.y, { axis, size: x.shape[axis]! }) } : {},
  cases: (c) => [
    ...c.product(
      { dtype: ["float32", "bfloat16", "float16", "int32"] as const, axis: [0, 1] },
      ({ dtype, axis }) => ({
        x: dtype === "int32" ? c.integers([9, 33], { high: 99 }) : c.normal([9, 33], { dtype }),
        indices: c.integers([4, 3], { high: axis ? 33 : 9 }),
      }),
      ({ axis }) => ({ axis }),
    ),
    c.case("one index", { x: c.normal([5, 31]), indices: c.integers([], { high: 5 }) }),
    c.case("no index", { x: c.normal([5, 31]), indices: c.integers([0], { high: 5 }) }),
    c.bench(
      "embedding",
      { x: c.normal([50257, 768]), indices: c.integers([8, 1024], { high: 50257 }) },
      { axis: 0 },
      { bytes: 2 * 4 * 8192 * 768 },
    ),
  ],
});

/** y = zeros, with updates added at the indices of `axis`, which has length `size`: the adjoint of take. */
export const scatterAddOp = defineOp("scatter_add", {
  inputs: ["indices", "updates"],
  outputs: ["y"],
  params: { axis: 0, size: 0 },
  kinds: { axis: "size", size: "size" },
  checks: true,
  shape: ({ indices, updates }, { axis, size }) => {
    expectDType("scatterAdd", { indices }, "int32");
    const span = indices.shape.length;
    const rank = updates.shape.length - span + 1;
    normalizeAxis("scatterAdd", axis, rank);
    const middle = updates.shape.slice(axis, axis + span);
    if (middle.length !== span || middle.some((d, i) => d !== indices.shape[i])) {
      fail(
        "shape",
        "scatterAdd",
        `updates must hold the axes of indices, [${indices.shape.join(",")}], from axis ${axis}`,
        updates,
      );
    }
    if (!Number.isInteger(size) || size < 0) fail("option", "scatterAdd", "size must be a non-negative integer", size);
    return { y: aval([...updates.shape.slice(0, axis), size, ...updates.shape.slice(axis + span)], updates.dtype) };
  },
  // Parts of the updates are added up; a part of the rows of y takes those updates that go to it.
  sharding({ indices, updates }, { axis, size }) {
    const rows = axisTerm(indices.shape, [], "i");
    const names = axisTerm(updates.shape).split(" ");
    const [before, after] = [names.slice(0, axis).join(" "), names.slice(axis + indices.shape.length).join(" ")];
    return rule(`${rows}, ${before} ${rows} ${after} -> ${before} rows ${after}`, { sizes: { rows: size } });
  },
  onShard({ indices, updates }, params, shard, op) {
    const { start, size } = shard.range("rows");
    const held = rowsHeld("scatterAdd", indices, { start, size }, params.size);
    if (!held) return op({ indices, updates }, params);
    const { axis } = params;
    const along = updates.shape.map((_, i) => (i < axis ? 1 : (indices.shape[i - axis] ?? 1)));
    const own = select(reshape(held.areHere, along), updates, 0);
    return op({ indices: held.places, updates: own }, { axis, size });
  },
  evaluate({ indices, updates }, { axis, size }, { y }) {
    const rows = checkedIndices("scatterAdd", indices, size);
    const values = loadFloat64(updates);
    const outer = values.length ? sizeOf(y.shape.slice(0, axis)) : 0;
    const inner = sizeOf(y.shape.slice(axis + 1));
    const total = new Float64Array(y.data.length);
    for (let o = 0, from = 0; o < outer; o++) {
      for (let i = 0; i < rows.length; i++) {
        const to = (o * size + rows[i]!) * inner;
        for (let k = 0; k < inner; k++) total[to + k]! += values[from++]!;
      }
    }
    storeSums(total, y);
  },
  vjp: ({ inputs: { indices, updates }, grads, params: { axis } }) =>
    isFloat(updates.dtype) ? { updates: take(grads.y, indices, { axis }) } : {},
  cases: (c) => [
    ...c.product(
      { dtype: ["float32", "bfloat16", "float16", "int32"] as const, axis: [0, 1] },
      ({ dtype, axis }) => ({
        indices: c.integers([4, 3], { high: 7 }),
        updates:
          dtype === "int32"
            ? c.integers(axis ? [31, 4, 3] : [4, 3, 31], { high: 9 })
            : c.normal(axis ? [31, 4, 3] : [4, 3, 31], { dtype }),
      }),
      ({ axis }) => ({ axis, size: 7 }),
    ),
    c.bench(
      "gradient of an embedding",
      { indices: c.integers([8, 256], { high: 8192 }), updates: c.normal([8, 256, 512]) },
      { axis: 0, size: 8192 },
      { bytes: 4 * 512 * (2048 + 8192) },
    ),
  ],
});

/** Rounds sums of floats; sums of integers wrap around. */
function storeSums(total: Float64Array, out: HostArray): void {
  if (isFloat(out.dtype)) storeFloat64(total, out);
  else out.data.set(total);
}

/** y[i, j, …] = x with index `axis` replaced by indices[i, j, …]; the other axes of x and indices agree. */
export const takeAlongAxisOp = defineOp("take_along_axis", {
  inputs: ["x", "indices"],
  outputs: ["y"],
  params: { axis: 0 },
  kinds: { axis: "size" },
  checks: true,
  shape: ({ x, indices }, { axis }) => {
    expectDType("takeAlongAxis", { indices }, "int32");
    const at = normalizeAxis("takeAlongAxis", axis, x.shape.length);
    if (indices.shape.length !== x.shape.length || indices.shape.some((d, i) => i !== at && d !== x.shape[i])) {
      fail(
        "shape",
        "takeAlongAxis",
        `indices must have the shape of x, [${x.shape.join(",")}], except in axis ${at}`,
        indices,
      );
    }
    return { y: aval(indices.shape, x.dtype) };
  },
  // As that of take.
  sharding({ x, indices }, { axis }) {
    const names = axisTerm(indices.shape).split(" ");
    const from = names.map((name, i) => (i === axis ? "rows" : name)).join(" ");
    return rule(`${from}, ${names.join(" ")} -> ${names.join(" ")}`, { whole: canBeAdded(x.dtype) ? [] : ["rows"] });
  },
  onShard({ x, indices }, params, shard, op) {
    const held = rowsHeld("takeAlongAxis", indices, shard.range("rows"), shard.rule.factors.rows!.size);
    if (!held) return op({ x, indices }, params);
    return { y: select(held.areHere, op({ x, indices: held.places }, params).y, 0) };
  },
  evaluate({ x, indices }, { axis }, { y }) {
    const size = x.shape[axis]!;
    const rows = checkedIndices("takeAlongAxis", indices, size);
    const count = indices.shape[axis]!;
    const step = stridesOf(x.shape)[axis]!;
    for (let i = 0; i < rows.length; i++) {
      const outer = Math.floor(i / (step * count));
      y.data[i] = x.data[(outer * size + rows[i]!) * step + (i % step)]!;
    }
  },
  vjp({ inputs: { x, indices }, grads, params: { axis } }) {
    if (!isFloat(x.dtype)) return {};
    if (x.size > 2 ** 31)
      fail(
        "unsupported",
        "takeAlongAxis",
        "the gradient needs at most 2^31 elements, which int32 counts",
        x,
        "Split x.",
      );
    const flat = flatten(linearIndices(indices, x.shape, axis));
    return { x: reshape(scatterAdd(flat, flatten(grads.y), { size: x.size }), x.shape) };
  },
  cases: (c) => [
    ...c.product(
      { dtype: ["float32", "bfloat16", "int32"] as const, axis: [0, 1, 2] },
      ({ dtype, axis }) => ({
        x: dtype === "int32" ? c.integers([3, 31, 4], { high: 99 }) : c.normal([3, 31, 4], { dtype }),
        indices: c.integers(
          [3, 31, 4].map((d, i) => (i === axis ? 2 : d)),
          { high: [3, 31, 4][axis]! },
        ),
      }),
      ({ axis }) => ({ axis }),
    ),
    c.bench(
      "one of each row of 1024",
      { x: c.normal([4096, 1024]), indices: c.integers([4096, 1], { high: 1024 }) },
      { axis: 1 },
      { bytes: 4096 * 12 },
    ),
  ],
});

/** Positions in the flattened x of the elements that takeAlongAxis reads. */
function linearIndices(indices: Tensor, shape: readonly number[], axis: number): Tensor {
  const strides = stridesOf(shape);
  let linear = indices.mul(strides[axis]!);
  shape.forEach((d, i) => {
    if (i === axis || d === 1) return;
    const line = shape.map((_, k) => (k === i ? d : 1));
    linear = linear.add(reshape(iota([d], 0).mul(strides[i]!), line));
  });
  return linear;
}

/** x with an axis (0 by default) replaced by the axes of `indices`. An index out of range is an error. */
export function take(x: Tensor, indices: Tensor, options: { readonly axis?: number } = {}): Tensor {
  expectTensor("take", { x });
  const { axis } = withDefaults("take", options, { axis: 0 });
  return takeOp({ x, indices: asIndices("take", indices) }, { axis: normalizeAxis("take", axis, x.rank) }).y;
}

/** Zeros with `updates` added at `indices` of an axis of length `size`: the adjoint of {@link take}. */
export function scatterAdd(
  indices: Tensor,
  updates: Tensor,
  options: { readonly axis?: number; readonly size: number },
): Tensor {
  expectTensor("scatterAdd", { updates });
  const ids = asIndices("scatterAdd", indices);
  const { axis, size } = withDefaults("scatterAdd", options, { axis: 0, size: undefined });
  if (size === undefined) fail("option", "scatterAdd", "size is required", undefined, "It is the length of the axis.");
  const at = normalizeAxis("scatterAdd", axis, updates.rank - ids.rank + 1);
  return scatterAddOp({ indices: ids, updates }, { axis: at, size }).y;
}

/** The elements of x at `indices` along one axis; the other axes of both agree. An index out of range is an error. */
export function takeAlongAxis(x: Tensor, indices: Tensor, axis: number): Tensor {
  const fn = "takeAlongAxis";
  expectTensor(fn, { x });
  return takeAlongAxisOp({ x, indices: asIndices(fn, indices) }, { axis: normalizeAxis(fn, axis, x.rank) }).y;
}

/** Integers as int32. Those beyond it become the largest, which no axis has: they do not wrap around into one that it has. */
export function asIndices(fn: string, indices: Tensor, name = "indices"): Tensor {
  expectTensor(fn, { [name]: indices });
  expectInteger(fn, { [name]: indices });
  return cast(indices.dtype === "uint32" ? indices.minimum(2 ** 31 - 1) : indices, "int32");
}

/** 1 where the new last axis, of length `classes`, equals the index, else 0. An index out of range gives zeros. */
export function oneHot(indices: Tensor, classes: number, options: { readonly dtype?: DType } = {}): Tensor {
  const ids = asIndices("oneHot", indices);
  const { dtype } = withDefaults("oneHot", options, { dtype: "float32" as DType });
  if (!Number.isSafeInteger(classes) || classes < 0)
    fail("option", "oneHot", "classes must be a non-negative integer", classes ?? String(classes));
  return cast(expandDims(ids, -1).eq(iota([classes], 0)), checkDType("oneHot", dtype));
}
