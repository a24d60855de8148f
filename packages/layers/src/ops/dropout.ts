/** The op `dropout`, with a mask that is drawn from a key and never stored. */
import { type Tensor, where, zeros } from "@te/tensor";
import { checkPlace, defineOp, drawKept, expectFloat, FLOATS, fail, type Place, rule } from "@te/tensor/op";

/**
 * y = x * keep / (1 - rate); keep is drawn per element, or once for all elements along `broadcastDims`. Element i of the
 * mask (row-major, broadcast axes of length 1) is uniform(key)[i] < 1 - rate, so the mask is the same on every backend
 * and is recomputed, never stored. The op is its own adjoint. Where x is a part of a tensor of shape `of` that begins at
 * `start`, i counts there.
 */
export const dropoutOp = defineOp("dropout", {
  inputs: ["x", "key"],
  outputs: ["y"],
  params: {
    rate: 0.5,
    broadcastDims: [] as readonly number[],
    of: [] as readonly number[],
    start: [] as readonly number[],
  },
  kinds: { of: "sizes", start: "sizes" },
  shape({ x, key }, { rate, broadcastDims, of, start }) {
    expectFloat("dropout", { x });
    if (key.dtype !== "uint32" || key.shape.length !== 1 || key.shape[0] !== 2)
      fail("shape", "dropout", "key must be uint32[2]", key, "Make one with random.key(seed).");
    if (!(rate >= 0 && rate <= 1)) fail("option", "dropout", "rate must be in [0, 1]", rate);
    for (const d of broadcastDims) {
      if (!Number.isInteger(d) || d < 0 || d >= x.shape.length)
        fail("option", "dropout", `broadcastDims must be axes of x, 0 to ${x.shape.length - 1}`, d);
    }
    checkPlace("dropout", x.shape, { of, start });
    return { y: x };
  },
  sharding: () => rule("..., 2 -> ..."),
  onShard: ({ x, key }, params, shard, op) =>
    op({ x, key }, { ...params, ...shard.placeOf(shard.output("y"), params) }),
  reference({ x, key }, { rate, broadcastDims, of, start }) {
    if (rate === 1) return { y: zeros(x.shape, { dtype: x.dtype }) };
    const along = (lengths: readonly number[], shared: number): number[] =>
      lengths.map((n, axis) => (broadcastDims.includes(axis) ? shared : n));
    const place: Place = { of: along(of, 1), start: along(start, 0) };
    const keep = drawKept(key, rate, along(x.shape, 1), place);
    const scaled = x
      .astype("float32")
      .div(1 - rate)
      .astype(x.dtype);
    return { y: where(keep.broadcastTo(x.shape), scaled, zeros([], { dtype: x.dtype })) };
  },
  vjp: ({ inputs: { key }, grads, params }) => ({ x: dropout(grads.y, key!, params) }),
  inPlace: [["x", "y"]],
  cases: (c) => [
    ...c.product(
      { dtype: FLOATS, rate: [0.1, 0.5], broadcastDims: [[], [0], [1, 2]] },
      ({ dtype }) => ({ x: c.normal([3, 17, 33], { dtype }), key: c.values([2], [1, 42], "uint32") }),
      ({ rate, broadcastDims }) => ({ rate, broadcastDims }),
    ),
    c.case("rate 1", { x: c.normal([4, 5]), key: c.values([2], [0, 7], "uint32") }, { rate: 1 }, { gradient: false }),
    c.case(
      "a part",
      { x: c.normal([2, 5, 3]), key: c.values([2], [1, 42], "uint32") },
      { rate: 0.3, broadcastDims: [1], of: [4, 8, 6], start: [1, 2, 3] },
    ),
    c.bench(
      "2048x512 bfloat16",
      { x: c.normal([2048, 512], { dtype: "bfloat16" }), key: c.values([2], [0, 7], "uint32") },
      { rate: 0.1 },
      { bytes: 2 * 2 * 2048 * 512 },
    ),
  ],
});

/** Drops elements of x with probability `rate` and scales the others by 1 / (1 - rate). */
export const dropout = (x: Tensor, key: Tensor, options: { rate: number; broadcastDims?: readonly number[] }): Tensor =>
  dropoutOp({ x, key }, options).y;
