/** The op `dropout`, with a mask that is drawn from a key and never stored. */
import { random, type Tensor, where, zeros } from "@te/tensor";
import { defineOp, expectFloat, FLOATS, fail, rule } from "@te/tensor/op";

/**
 * y = x * keep / (1 - rate); keep is drawn per element, or once for all elements along `broadcastDims`. Element i of the
 * mask (row-major, broadcast axes of length 1) is uniform(key)[i] < 1 - rate, so the mask is the same on every backend
 * and is recomputed, never stored. The op is its own adjoint.
 */
export const dropoutOp = defineOp("dropout", {
  inputs: ["x", "key"],
  outputs: ["y"],
  params: { rate: 0.5, broadcastDims: [] as readonly number[] },
  shape({ x, key }, { rate, broadcastDims }) {
    expectFloat("dropout", { x });
    if (key.dtype !== "uint32" || key.shape.length !== 1 || key.shape[0] !== 2)
      fail("shape", "dropout", "key must be uint32[2]", key, "Make one with random.key(seed).");
    if (!(rate >= 0 && rate <= 1)) fail("option", "dropout", "rate must be in [0, 1]", rate);
    for (const d of broadcastDims) {
      if (!Number.isInteger(d) || d < 0 || d >= x.shape.length)
        fail("option", "dropout", `broadcastDims must be axes of x, 0 to ${x.shape.length - 1}`, d);
    }
    return { y: x };
  },
  sharding: () => rule("..., 2 -> ..."),
  reference: ({ x, key }, params) => ({ y: dropped(x, drawMask(key, x.shape, params), params) }),
  // Elements are numbered over the whole tensor: of its mask the part.
  onShard({ x, key }, params, shard) {
    const { shape, dims } = shard.output("y");
    const isShared = (axis: number): boolean => params.broadcastDims.includes(axis);
    const ofMask = {
      shape: shape.map((d, axis) => (isShared(axis) ? 1 : d)),
      dims: dims.map((factors, axis) => (isShared(axis) ? [] : factors)),
    };
    return { y: dropped(x, shard.part(ofMask, drawMask(key, shape, params)), params) };
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
    c.bench(
      "2048x512 bfloat16",
      { x: c.normal([2048, 512], { dtype: "bfloat16" }), key: c.values([2], [0, 7], "uint32") },
      { rate: 0.1 },
      { bytes: 2 * 2 * 2048 * 512 },
    ),
  ],
});

type DropoutParams = { rate: number; broadcastDims: readonly number[] };

/** What is kept of a tensor of this shape, with length 1 along the broadcast axes. */
function drawMask(key: Tensor, shape: readonly number[], { rate, broadcastDims }: DropoutParams): Tensor {
  const mask = shape.map((d, i) => (broadcastDims.includes(i) ? 1 : d));
  return random.uniform(key, mask).lt(1 - rate);
}

function dropped(x: Tensor, keep: Tensor, { rate }: DropoutParams): Tensor {
  if (rate === 1) return zeros(x.shape, { dtype: x.dtype });
  const scaled = x
    .astype("float32")
    .div(1 - rate)
    .astype(x.dtype);
  return where(keep.broadcastTo(x.shape), scaled, zeros([], { dtype: x.dtype }));
}

/** Drops elements of x with probability `rate` and scales the others by 1 / (1 - rate). */
export const dropout = (x: Tensor, key: Tensor, options: { rate: number; broadcastDims?: readonly number[] }): Tensor =>
  dropoutOp({ x, key }, options).y;
