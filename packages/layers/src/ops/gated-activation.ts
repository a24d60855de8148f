/** The op `gated_activation` and its backward: activations by name, single or multiplied, with their derivatives. */
import { type Aval, concat, onesLike, type Tensor } from "@te/tensor";
import { defineOp, expectFloat, expectShape, FLOATS, fail, nearestName, rule } from "@te/tensor/op";

/** What clamped SwiGLU needs: g = min(u0, limit), l = clip(u1, ±limit) + offset, y = g * sigmoid(alpha g) * l. */
export const CLAMPED = { limit: 7, alpha: 1.702, offset: 1 };
type Clamped = typeof CLAMPED;

const SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI);

interface Activation {
  value(x: Tensor, clamped: Clamped): Tensor;
  derivative(x: Tensor, clamped: Clamped): Tensor;
}

const indicator = (condition: Tensor): Tensor => condition.astype("float32");

/** x where a derivative multiplies it by what is 0 far out: 0 * ∞ must not become NaN. */
const near = (x: Tensor): Tensor => x.clip(-1e3, 1e3);

/** x * sigmoid(alpha x); its derivative is s * (1 + alpha x (1 - s)). */
const swish = (alpha: number): Activation => ({
  value: (x) => x.mul(x.mul(alpha).sigmoid()),
  derivative: (x) => {
    const s = x.mul(alpha).sigmoid();
    return s.mul(near(x.mul(alpha)).mul(s.neg().add(1)).add(1));
  },
});

/** The activations by name, in float32. gelu is the tanh form. */
const ACTIVATIONS: Record<string, Activation> = {
  gelu: {
    value: (x) => x.mul(0.5).mul(geluTanh(x).add(1)),
    derivative: (x) => {
      const t = geluTanh(x);
      const inner = near(x)
        .mul(near(x))
        .mul(3 * 0.044715)
        .add(1)
        .mul(SQRT_2_OVER_PI);
      return t
        .add(1)
        .mul(0.5)
        .add(near(x).mul(0.5).mul(t.mul(t).neg().add(1)).mul(inner));
    },
  },
  silu: swish(1),
  quick_gelu: swish(1.702),
  relu: { value: (x) => x.maximum(0), derivative: (x) => indicator(x.gt(0)) },
  squared_relu: { value: (x) => x.maximum(0).mul(x.maximum(0)), derivative: (x) => x.maximum(0).mul(2) },
  sigmoid: {
    value: (x) => x.sigmoid(),
    derivative: (x) => {
      const s = x.sigmoid();
      return s.mul(s.neg().add(1));
    },
  },
  linear: { value: (x) => x, derivative: (x) => onesLike(x) },
  clamped_silu: {
    value: (x, { limit, alpha }) => swish(alpha).value(x.minimum(limit), CLAMPED),
    derivative: (x, { limit, alpha }) =>
      swish(alpha)
        .derivative(x.minimum(limit), CLAMPED)
        .mul(indicator(x.le(limit))),
  },
  clamped_linear: {
    value: (x, { limit, offset }) => x.minimum(limit).maximum(-limit).add(offset),
    derivative: (x, { limit }) => indicator(x.le(limit)).mul(indicator(x.ge(-limit))),
  },
};

const geluTanh = (x: Tensor): Tensor => x.mul(x).mul(x).mul(0.044715).add(x).mul(SQRT_2_OVER_PI).tanh();

/** What other names of activations and of gated units stand for. */
const OTHER_NAMES: Record<string, readonly string[]> = {
  swish: ["silu"],
  glu: ["sigmoid", "linear"],
  geglu: ["gelu", "linear"],
  swiglu: ["silu", "linear"],
  reglu: ["relu", "linear"],
  qgeglu: ["quick_gelu", "linear"],
  sreglu: ["squared_relu", "linear"],
  clamped_swiglu: ["clamped_silu", "clamped_linear"],
};

/** The name in lower case. Throws, naming `option`, unless it is one of an activation. */
export function checkActivation(fn: string, option: string, name: unknown): string {
  const known = Object.keys(ACTIVATIONS);
  if (typeof name !== "string")
    fail("option", fn, `${option} must be names`, name ?? String(name), `Known: ${known.join(", ")}.`);
  const lower = name.toLowerCase();
  if (known.includes(lower)) return lower;
  const parts = Object.hasOwn(OTHER_NAMES, lower) ? OTHER_NAMES[lower]!.map((part) => `"${part}"`) : undefined;
  const nearest = nearestName(lower, known);
  const wayOut = parts ? `Write ${parts.join(", ")} for it.` : nearest && `Did you mean ${nearest}?`;
  return fail("option", fn, `${option} must be among ${known.join(", ")}`, name, wayOut);
}

const PARAMS = { activations: ["gelu"] as readonly string[], ...CLAMPED };

/** Parameters of gated_activation. */
export type ActivationParams = Readonly<typeof PARAMS>;
const FINITE = { limit: "finite", alpha: "finite", offset: "finite" } as const;

function checkInput(fn: string, u: Aval, { activations }: ActivationParams): Aval {
  expectFloat(fn, { u });
  if (activations.length === 0) fail("option", fn, "activations must not be empty");
  // The kernels know one spelling.
  for (const name of activations)
    if (checkActivation(fn, "activations", name) !== name)
      fail("option", fn, "activations must be in lower case", name, `Write ${name.toLowerCase()}.`);
  if (u.shape.length < 2 || u.shape.at(-2) !== activations.length) {
    fail("shape", fn, `the second-last axis of u must be the number of activations, ${activations.length}`, u);
  }
  return { shape: [...u.shape.slice(0, -2), u.shape.at(-1)!], dtype: u.dtype };
}

/** act_i(u[..., i, :]) in float32, one tensor per activation. */
function slots(u: Tensor, params: ActivationParams, part: "value" | "derivative"): Tensor[] {
  return params.activations.map((name, i) => ACTIVATIONS[name]![part](slot(u, i).astype("float32"), params));
}

const slot = (u: Tensor, i: number): Tensor => {
  const axis = u.rank - 2;
  const start = u.shape.map((_, k) => (k === axis ? i : 0));
  return u
    .slice(
      start,
      u.shape.map((d, k) => (k === axis ? i + 1 : d)),
    )
    .squeeze(axis);
};

const product = (parts: readonly Tensor[]): Tensor => parts.reduce((a, b) => a.mul(b));

/** du_i = dy * act_i'(u_i) * the product of the other activations, in the dtype of u, or with `wide` in float32. */
export const gatedActivationBackwardOp = defineOp("gated_activation_backward", {
  inputs: ["dy", "u"],
  outputs: ["du"],
  params: { ...PARAMS, wide: false },
  kinds: FINITE,
  shape({ dy, u }, params) {
    const y = checkInput("gatedActivationBackward", u, params);
    expectFloat("gatedActivationBackward", { dy });
    expectShape("gatedActivationBackward", { dy }, y.shape, "that of the result");
    return { du: params.wide ? { shape: u.shape, dtype: "float32" } : u };
  },
  sharding: () => rule("... f, ... a f -> ... a f", { whole: ["a"] }),
  reference({ dy, u }, params) {
    const values = slots(u, params, "value");
    const derivatives = slots(u, params, "derivative");
    const wide = dy.astype("float32");
    const parts = derivatives.map((d, i) => product([wide, d, ...values.filter((_, k) => k !== i)]).expandDims(-2));
    return { du: concatenate(parts).astype(params.wide ? "float32" : u.dtype) };
  },
  cases: (c) => [
    ...c.product(
      { dtype: FLOATS, activations: [["gelu"], ["silu", "linear"]], wide: [false, true] },
      ({ dtype, activations }) => ({
        dy: c.normal([5, 33], { dtype }),
        u: c.normal([5, activations.length, 33], { dtype }),
      }),
      ({ activations, wide }) => ({ activations, wide }),
      { gradient: false },
    ),
    ...(["float32", "bfloat16"] as const).map((dtype) =>
      c.bench(
        `gelu 2048x2048 ${dtype}`,
        { dy: c.normal([2048, 2048], { dtype }), u: c.normal([2048, 1, 2048], { dtype }) },
        {},
        { bytes: 3 * (dtype === "float32" ? 4 : 2) * 2048 * 2048 },
      ),
    ),
  ],
});

const concatenate = (parts: readonly Tensor[]): Tensor => (parts.length === 1 ? parts[0]! : concat(parts, -2));

/**
 * y = product over i of act_i(u[..., i, :]), computed in float32 and rounded once. One activation is the plain case,
 * ["silu", "linear"] is SwiGLU. u [..., A, F] float; y [..., F].
 */
export const gatedActivationOp = defineOp("gated_activation", {
  inputs: ["u"],
  outputs: ["y"],
  judgedAs: { values: "activation" },
  params: PARAMS,
  kinds: FINITE,
  shape: ({ u }, params) => ({ y: checkInput("gatedActivation", u, params) }),
  sharding: () => rule("... a f -> ... f", { whole: ["a"] }),
  reference: ({ u }, params) => ({ y: product(slots(u, params, "value")).astype(u.dtype) }),
  vjp: ({ inputs: { u }, grads, params }) => ({ u: gatedActivationBackwardOp({ dy: grads.y, u }, params).du }),
  cases: (c) => [
    ...c.product(
      {
        dtype: FLOATS,
        activations: [
          ...Object.keys(ACTIVATIONS).map((name) => [name]),
          ["gelu", "linear"],
          ["silu", "linear"],
          ["relu", "relu"],
          ["clamped_silu", "clamped_linear"],
          ["gelu", "silu", "linear"],
        ],
        std: [1, 4],
      },
      ({ dtype, activations, std }) => ({ u: c.normal([5, activations.length, 33], { dtype, std }) }),
      ({ activations }) => ({ activations }),
    ),
    c.case(
      "clamped with other parameters",
      { u: c.normal([4, 2, 40], { std: 2 }) },
      { activations: ["clamped_silu", "clamped_linear"], limit: 0.75, alpha: 1.1, offset: 0.5 },
    ),
    ...(["float32", "bfloat16"] as const).map((dtype) =>
      c.bench(
        `gelu 2048x2048 ${dtype}`,
        { u: c.normal([2048, 1, 2048], { dtype }) },
        {},
        { bytes: 2 * (dtype === "float32" ? 4 : 2) * 2048 * 2048 },
      ),
    ),
  ],
});
