/** The op `adamw_update`: a parameter and its two moments after one step, in float32. */
import { full, type Tensor } from "@te/tensor";
import { aval, defineOp, fail, formatAval, isFloat, rule, sameShape } from "@te/tensor/op";

/** 1 - b^t without cancellation: -(e^(t ln b) - 1). */
const oneMinusPower = (b: number, t: Tensor): Tensor => (b === 0 ? full([], 1) : t.mul(Math.log(b)).expm1().neg());

/**
 * One step of AdamW for one parameter p with gradient g, in float32:
 *
 *   m2 = b1 m + (1 - b1) g        v2 = b2 v + (1 - b2) g²
 *   update = -lr ( m2 / (1 - b1^t) / (√(v2 / (1 - b2^t) + epsRoot) + eps) + weightDecay p )
 *
 * t = count is the number of this step: 1 for the first. Results are rounded once, to the dtypes of p, m and v, which may
 * differ; the moments enter the update before they are rounded.
 */
export const adamwUpdateOp = defineOp("adamw_update", {
  inputs: ["g", "m", "v", "p", "lr", "count"],
  outputs: ["update", "m2", "v2"],
  params: { b1: 0.9, b2: 0.999, eps: 1e-8, epsRoot: 0, weightDecay: 0 },
  kinds: { b1: "finite", b2: "finite", eps: "finite", epsRoot: "finite", weightDecay: "finite" },
  inPlace: [
    ["m", "m2"],
    ["v", "v2"],
  ],
  sharding: () => rule("..., ..., ..., ..., , -> ..., ..., ..."),

  shape({ g, m, v, p, lr, count }) {
    for (const [name, a] of Object.entries({ g, m, v })) {
      if (!sameShape(a.shape, p.shape)) {
        fail(
          "shape",
          "adamwUpdate",
          `${name} must have the shape of p: ${formatAval(p)}`,
          a,
          "Update with the gradients of the same parameters that init saw.",
        );
      }
    }
    for (const [name, a] of Object.entries({ g, m, v, p })) {
      if (!isFloat(a.dtype))
        fail("dtype", "adamwUpdate", `${name} must be floating`, a, "Leave integer leaves out of the parameters.");
    }
    if (lr.dtype !== "float32" || lr.shape.length !== 0)
      fail("dtype", "adamwUpdate", "lr must be float32[]", lr, 'Reduce it and cast it with astype("float32").');
    if (count.dtype !== "int32" || count.shape.length !== 0)
      fail("dtype", "adamwUpdate", "count must be int32[]", count, 'Cast it with astype("int32").');
    return { update: aval(p.shape, p.dtype), m2: aval(m.shape, m.dtype), v2: aval(v.shape, v.dtype) };
  },

  reference({ g, m, v, p, lr, count }, { b1, b2, eps, epsRoot, weightDecay }) {
    const gradient = g.astype("float32");
    const t = count.astype("float32");
    const m2 = m
      .astype("float32")
      .mul(b1)
      .add(gradient.mul(1 - b1));
    const v2 = v
      .astype("float32")
      .mul(b2)
      .add(gradient.mul(gradient).mul(1 - b2));
    const mean = m2.div(oneMinusPower(b1, t));
    const square = v2.div(oneMinusPower(b2, t));
    const direction = mean.div(square.add(epsRoot).sqrt().add(eps));
    const decayed = weightDecay === 0 ? direction : direction.add(p.astype("float32").mul(weightDecay));
    return {
      update: decayed.mul(lr.neg()).astype(p.dtype),
      m2: m2.astype(m.dtype),
      v2: v2.astype(v.dtype),
    };
  },

  cases(c) {
    const inputs = (o: {
      shape: readonly number[];
      g: "float32" | "bfloat16" | "float16";
      m: "float32" | "bfloat16" | "float16";
      p: "float32" | "bfloat16" | "float16";
      count?: number;
    }) => ({
      g: c.normal(o.shape, { dtype: o.g }),
      m: c.normal(o.shape, { dtype: o.m, std: 0.3 }),
      v: c.uniform(o.shape, { dtype: o.m, low: 0, high: 0.5 }),
      p: c.normal(o.shape, { dtype: o.p }),
      lr: c.values([], [1e-2]),
      count: c.values([], [o.count ?? 3], "int32"),
    });
    const float32 = { g: "float32", m: "float32", p: "float32" } as const;
    const noGradient = { gradient: false };
    return [
      ...c.product(
        {
          shape: [[], [7], [3, 65], [0, 4], [513]],
          dtypes: [
            ["float32", "float32", "float32"],
            ["bfloat16", "bfloat16", "bfloat16"],
            ["bfloat16", "float32", "bfloat16"],
            ["float32", "bfloat16", "float32"],
            ["float16", "float32", "float16"],
          ] as const,
        },
        ({ shape, dtypes: [g, m, p] }) => inputs({ shape, g, m, p }),
        () => ({ weightDecay: 1e-4 }),
        noGradient,
      ),
      ...[1, 2, 1000, 2 ** 31 - 1].map((count) =>
        c.case(`count=${count}`, inputs({ shape: [33], ...float32, count }), { b2: 0.95 }, noGradient),
      ),
      c.case("no momentum", inputs({ shape: [33], ...float32 }), { b1: 0, b2: 0, eps: 1e-3 }, noGradient),
      c.case(
        "epsRoot and decay",
        inputs({ shape: [4, 33], ...float32 }),
        { eps: 1e-3, epsRoot: 1e-4, weightDecay: 0.1 },
        noGradient,
      ),
      c.bench(
        "16 M parameters",
        inputs({ shape: [4096, 4096], ...float32 }),
        { weightDecay: 1e-4 },
        { bytes: 7 * 4 * 2 ** 24 },
      ),
    ];
  },
});
