/** The op by which the body of a shardMap exchanges values along axes of the mesh. */
import type { Tensor } from "@te/tensor";
import { type Aval, defineOp, fail, type Reduction, wholeRule } from "@te/tensor/op";

const KINDS = ["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "ppermute"] as const;

const PARAMS = {
  kind: "all_reduce" as (typeof KINDS)[number],
  /** The axes along which devices exchange, one for all kinds but all_reduce, and their sizes. */
  axes: [] as readonly string[],
  sizes: [] as readonly number[],
  reduction: "sum" as Reduction,
  /** The dimension that is gathered, scattered, or no longer split by all_to_all. */
  dim: 0,
  /** The dimension that all_to_all splits. */
  to: 0,
  /** What place `sources[i]` has goes to place `targets[i]`; others get zeros. */
  sources: [] as readonly number[],
  targets: [] as readonly number[],
};

export type ShardExchange = typeof PARAMS;

let bodies = 0;

/** Calls f, in which shards exchange. */
export function inBody<R>(f: () => R): R {
  bodies++;
  try {
    return f();
  } finally {
    bodies--;
  }
}

const resized = ({ shape, dtype }: Aval, change: (length: number, dim: number) => number): Aval => ({
  shape: shape.map(change),
  dtype,
});

function shapeAfter(x: Aval, { kind, axes, sizes, dim, to }: ShardExchange): Aval {
  const fn = "shard_exchange";
  if (axes.length !== sizes.length)
    fail("option", fn, `sizes must hold the size of each of ${axes.length} axes`, sizes);
  const count = sizes.reduce((n, size) => n * size, 1);
  if (count !== 1 && bodies === 0) fail("state", fn, "devices exchange inside of shardMap only", axes);
  const needsDim = kind === "all_gather" || kind === "reduce_scatter" || kind === "all_to_all";
  if (needsDim && Math.max(dim, to) >= x.shape.length)
    fail("option", fn, `dim and to must be dimensions of x, of which there are ${x.shape.length}`, [dim, to]);
  const split = kind === "reduce_scatter" ? dim : kind === "all_to_all" ? to : undefined;
  if (split !== undefined && x.shape[split]! % count !== 0)
    fail("shape", fn, `dimension ${split} of x must be a multiple of ${count}, the devices along ${axes}`, x);
  return resized(x, (length, at) => {
    const grown = at === dim && (kind === "all_gather" || kind === "all_to_all") ? length * count : length;
    return at === split ? grown / count : grown;
  });
}

/** What devices along some axes have after they exchanged their x. On one device it is x. */
export const shardExchangeOp = defineOp("shard_exchange", {
  inputs: ["x"],
  outputs: ["y"],
  params: PARAMS,
  kinds: {
    kind: KINDS,
    axes: "strings",
    sizes: "sizes",
    reduction: ["sum", "max", "min"],
    dim: "size",
    to: "size",
    sources: "sizes",
    targets: "sizes",
  },
  view: true,
  shape: ({ x }, params) => ({ y: shapeAfter(x, params) }),
  sharding: wholeRule,
  evaluate: ({ x }, _, { y }) => y.data.set(x.data as never),
  vjp: ({ grads, params }) => ({ x: transposed(grads.y, params) }),
  cases: (c) => [c.case("one device", { x: c.normal([3, 4]) }, { axes: ["tensor"], sizes: [1] })],
});

/** The cotangent of x. Each kind is linear, and the transpose of another. */
function transposed(g: Tensor, params: ShardExchange): Tensor {
  const { kind, reduction, dim, to, sources, targets } = params;
  if (reduction !== "sum")
    fail("unsupported", `p${reduction}`, "it has no derivative", undefined, "Pass it what stopGradient gives.");
  const changed: Record<ShardExchange["kind"], Partial<ShardExchange>> = {
    all_reduce: {},
    all_gather: { kind: "reduce_scatter" },
    reduce_scatter: { kind: "all_gather" },
    all_to_all: { dim: to, to: dim },
    ppermute: { sources: targets, targets: sources },
  };
  return shardExchangeOp({ x: g }, { ...params, ...changed[kind] }).y;
}
