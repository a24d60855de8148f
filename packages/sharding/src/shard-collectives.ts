/** Collectives that are written by hand in functions of parts: what devices along an axis of the mesh exchange. */
import { full, type Tensor } from "@te/tensor";
import { expectTensor, fail, isFloat, withDefaults } from "@te/tensor/op";
import { type Mesh, meshAxisSize } from "./mesh.js";
import { type ShardExchange, shardExchangeOp } from "./ops/shard-exchange.js";
import { axisIndexOp } from "./partition/shard-body.js";

/** The name of an axis of the mesh of shardMap, or several, the first outermost. */
export type AxisNames = string | readonly string[];

let mapped: Mesh | undefined;

/** Calls a function of parts, in which the axes of the mesh can be named. */
export function withMappedAxes<R>(mesh: Mesh, f: () => R): R {
  const outer = mapped;
  mapped = mesh;
  try {
    return f();
  } finally {
    mapped = outer;
  }
}

/** The names as a list, without those of one device. */
function axesOf(fn: string, names: AxisNames): { axes: string[]; sizes: number[] } {
  if (!mapped) return fail("state", fn, "it exchanges between the parts of a function that shardMap calls", names);
  const mesh = mapped;
  const all = [names].flat();
  for (const name of all)
    if (typeof name !== "string" || !Object.hasOwn(mesh.shape, name))
      fail("option", fn, `axes must be named, and be of ${mesh}`, name ?? String(name));
  if (new Set(all).size !== all.length || all.length === 0)
    fail("option", fn, "an axis must be named, each once", names);
  const axes = all.filter((axis) => meshAxisSize(axis, mesh) > 1);
  return { axes, sizes: axes.map((axis) => mesh.shape[axis]!) };
}

function exchange(x: Tensor, params: Partial<ShardExchange>): Tensor {
  return shardExchangeOp({ x }, params).y;
}

function reduced(fn: string, x: Tensor, names: AxisNames, reduction: ShardExchange["reduction"]): Tensor {
  expectTensor(fn, { x });
  const { axes, sizes } = axesOf(fn, names);
  return axes.length === 0 ? x : exchange(x, { axes, sizes, reduction });
}

/** The sum of x over the devices along the axes: all get it. */
export const psum = (x: Tensor, axes: AxisNames): Tensor => reduced("psum", x, axes, "sum");

/** The largest x of the devices along the axes, element by element. It has no derivative. */
export const pmax = (x: Tensor, axes: AxisNames): Tensor => reduced("pmax", x, axes, "max");

/** The smallest; the same rules. */
export const pmin = (x: Tensor, axes: AxisNames): Tensor => reduced("pmin", x, axes, "min");

/** The mean of a float x over the devices along the axes. */
export function pmean(x: Tensor, axes: AxisNames): Tensor {
  const sum = reduced("pmean", x, axes, "sum");
  if (!isFloat(x.dtype)) fail("dtype", "pmean", "x must be of floats", x);
  const count = axesOf("pmean", axes).sizes.reduce((n, size) => n * size, 1);
  return count === 1 ? sum : sum.div(count);
}

/** The place of the device along the axes, the first outermost: an int32 scalar. */
export function axisIndex(names: AxisNames): Tensor {
  const along = axesOf("axisIndex", names);
  return along.axes.length === 0 ? full([], 0, { dtype: "int32" }) : axisIndexOp({}, along).y;
}

/** A dimension of a tensor of that rank; -1 is the last. */
function dimension(fn: string, name: string, dim: number, rank: number): number {
  if (!Number.isInteger(dim) || dim < -rank || dim >= rank)
    fail("option", fn, `${name} must be one of ${rank} dimensions`, dim);
  return dim < 0 ? dim + rank : dim;
}

/**
 * The x of all devices along the axes, in order: along a new dimension `axis`, or with `tiled` put together along the
 * dimension `axis` that x has.
 */
export function allGather(x: Tensor, names: AxisNames, options: { axis?: number; tiled?: boolean } = {}): Tensor {
  expectTensor("allGather", { x });
  const { axis, tiled } = withDefaults("allGather", options, { axis: 0, tiled: false });
  const { axes, sizes } = axesOf("allGather", names);
  const dim = dimension("allGather", "axis", axis, tiled ? x.rank : x.rank + 1);
  const parts = tiled ? x : x.reshape([...x.shape.slice(0, dim), 1, ...x.shape.slice(dim)]);
  return axes.reduceRight(
    (y, name, i) => exchange(y, { kind: "all_gather", axes: [name], sizes: [sizes[i]!], dim }),
    parts,
  );
}

/**
 * The sum of x over the devices along the axes, of which each keeps its part along `scatterDimension`: with `tiled` an equal
 * share of it, otherwise one of its elements, of which there must be as many as devices, and the dimension goes.
 */
export function psumScatter(
  x: Tensor,
  names: AxisNames,
  options: { scatterDimension?: number; tiled?: boolean } = {},
): Tensor {
  const fn = "psumScatter";
  expectTensor(fn, { x });
  const { scatterDimension, tiled } = withDefaults(fn, options, { scatterDimension: 0, tiled: false });
  const { axes, sizes } = axesOf(fn, names);
  const dim = dimension(fn, "scatterDimension", scatterDimension, x.rank);
  checkParts(fn, x, dim, sizes, tiled);
  const part = axes.reduce(
    (y, name, i) => exchange(y, { kind: "reduce_scatter", axes: [name], sizes: [sizes[i]!], dim }),
    x,
  );
  return tiled ? part : part.reshape(part.shape.filter((_, i) => i !== dim));
}

function checkParts(fn: string, x: Tensor, dim: number, sizes: readonly number[], tiled: boolean): void {
  const count = sizes.reduce((n, size) => n * size, 1);
  if (tiled ? x.shape[dim]! % count === 0 : x.shape[dim] === count) return;
  const rule = tiled ? `a multiple of the ${count} devices` : `${count}, the number of devices`;
  fail("shape", fn, `dimension ${dim} of x must be ${rule}`, x, tiled ? "" : "Pass tiled: true to split it evenly.");
}

/**
 * Splits x along `splitAxis` for the devices along an axis, and puts together what comes from them along `concatAxis`. With
 * `tiled` both are dimensions of x; otherwise the first has an element for each device and goes, and the second is new.
 */
export function allToAll(
  x: Tensor,
  name: string,
  splitAxis: number,
  concatAxis: number,
  options: { tiled?: boolean } = {},
): Tensor {
  const fn = "allToAll";
  expectTensor(fn, { x });
  const { tiled } = withDefaults(fn, options, { tiled: false });
  const { axes, sizes } = oneAxis(fn, name);
  const to = dimension(fn, "splitAxis", splitAxis, x.rank);
  const dim = dimension(fn, "concatAxis", concatAxis, x.rank);
  checkParts(fn, x, to, sizes, tiled);
  if (tiled) return axes.length === 0 ? x : exchange(x, { kind: "all_to_all", axes, sizes, dim, to });
  const others = x.shape.map((_, i) => i).filter((i) => i !== to);
  const parts = x.transpose([to, ...others]);
  const after = axes.length === 0 ? parts : exchange(parts, { kind: "all_to_all", axes, sizes, dim: 0, to: 0 });
  const order = others.map((_, i) => i + 1);
  return after.transpose([...order.slice(0, dim), 0, ...order.slice(dim)]);
}

/** Sends x along an axis, from place to place: `[[0, 1], [1, 0]]` swaps. Places that nothing goes to get zeros. */
export function ppermute(x: Tensor, name: string, perm: readonly (readonly [from: number, to: number])[]): Tensor {
  const fn = "ppermute";
  expectTensor(fn, { x });
  const { axes, sizes } = oneAxis(fn, name);
  const size = sizes[0] ?? 1;
  const isPair = (pair: readonly number[]) =>
    Array.isArray(pair) && pair.length === 2 && pair.every((at) => Number.isInteger(at) && at >= 0 && at < size);
  if (!Array.isArray(perm) || !perm.every(isPair))
    fail("option", fn, `perm must be a list of pairs of places below ${size}`, perm);
  const [sources, targets] = [perm.map(([from]) => from), perm.map(([, to]) => to)];
  if (new Set(sources).size !== perm.length || new Set(targets).size !== perm.length)
    fail("option", fn, "a place must send once and get once at most", perm);
  if (axes.length === 0) return perm.length === 1 ? x : x.mul(0);
  return exchange(x, { kind: "ppermute", axes, sizes, sources, targets });
}

function oneAxis(fn: string, name: string): { axes: string[]; sizes: number[] } {
  if (typeof name !== "string") fail("option", fn, "one axis must be named", name);
  return axesOf(fn, name);
}
