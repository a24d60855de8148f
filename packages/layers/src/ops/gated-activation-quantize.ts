/** The op `gated_activation_quantize`: an activation that writes float8 without a rounding in between. */
import { expectQuantization, quantizeOp } from "@te/fp8";
import type { Aval, DType } from "@te/tensor";
import { defineOp, FLOATS, rule } from "@te/tensor/op";
import { gatedActivationOp } from "./gated-activation.js";

/**
 * gated_activation whose float32 result goes to float8 directly: q = float8(clip(y * scale)), amax = max |y|.
 * u [..., A, F]; scale float32[1] → q [..., F] in `dtype`, amax float32[1].
 */
export const gatedActivationQuantizeOp = defineOp("gated_activation_quantize", {
  inputs: ["u", "scale"],
  outputs: ["q", "amax"],
  params: {
    ...(gatedActivationOp.definition.params as {
      activations: readonly string[];
      limit: number;
      alpha: number;
      offset: number;
    }),
    dtype: "float8_e4m3fn" as "float8_e4m3fn" | "float8_e5m2",
  },
  kinds: { limit: "finite", alpha: "finite", offset: "finite" },
  shape({ u, scale }, { dtype, ...params }) {
    expectQuantization("gatedActivationQuantize", scale, dtype);
    const { y } = gatedActivationOp.definition.shape({ u }, params) as { y: Aval };
    return { q: { shape: y.shape, dtype: dtype as DType }, amax: { shape: [1], dtype: "float32" } };
  },
  sharding: () => rule("... a f, 1 -> ... f, 1", { whole: ["a"], reduce: { "...": "max", f: "max" } }),
  reference({ u, scale }, { dtype, ...params }) {
    const { y } = gatedActivationOp({ u: u.astype("float32") }, params);
    return quantizeOp({ x: y, scale }, { dtype });
  },
  vjp: () => ({}),
  cases: (c) => [
    ...c.product(
      { dtype: FLOATS, activations: [["gelu"], ["silu", "linear"], ["squared_relu"]] },
      ({ dtype, activations }) => ({
        u: c.normal([5, activations.length, 33], { dtype }),
        scale: c.values([1], [100]),
      }),
      ({ activations }) => ({ activations }),
      { gradient: false },
    ),
    c.bench(
      "gelu 2048x2048 bfloat16",
      { u: c.normal([2048, 1, 2048], { dtype: "bfloat16" }), scale: c.values([1], [100]) },
      {},
      { bytes: 3 * 2 ** 22 },
    ),
  ],
});
