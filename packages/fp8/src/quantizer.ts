import { checkpointName, div, finfo, full, type Tensor, zeros } from "@te/tensor";
import {
  expectFloat,
  expectFunction,
  expectObject,
  expectString,
  expectTensor,
  fail,
  type StateRule,
  stateAfter,
} from "@te/tensor/op";
import { checkFloat8, type Float8, float8Max } from "./format.js";
import { delayedScalingUpdateOp } from "./ops/delayed-scaling-update.js";
import { quantizeOp } from "./ops/quantize.js";
import { DelayedScaling } from "./recipes/delayed-scaling.js";
import { checkRecipe, type Recipe } from "./recipes/index.js";

/**
 * State of one tensor of one product under delayed scaling: the scale for the next step, float32[1], and the amaxes of
 * past steps, float32[N]. Entry 0 of the history is 0 and gives way to the next step's amax; the newest amax is the last
 * entry, the others follow from entry 1 on, oldest first.
 */
export type ScaleState = { readonly scale: Tensor; readonly amaxHistory: Tensor };

/** The states of one product: of its input, its kernel, and the gradient of its result; null under current scaling. */
export type ProductMetas<State = ScaleState | null> = {
  readonly x: State;
  readonly kernel: State;
  readonly grad: State;
};

/** A tensor in FP8: value = q * scaleInv. amax is the largest magnitude of the values before rounding, float32[1]. */
export type Quantized = { readonly q: Tensor; readonly scaleInv: Tensor; readonly amax: Tensor };

/** Throws unless every value is a tensor in FP8 with its scale. */
export function expectQuantized(fn: string, args: Readonly<Record<string, unknown>>): void {
  expectObject(fn, args);
  for (const [name, value] of Object.entries(args) as [string, Quantized][]) {
    expectTensor(fn, { [`${name}.q`]: value.q, [`${name}.scaleInv`]: value.scaleInv, [`${name}.amax`]: value.amax });
    checkFloat8(fn, `${name}.q`, value.q.dtype);
  }
}

/** Throws unless the value is the state of one tensor, or null. */
function expectState(fn: string, name: string, state: unknown): void {
  if (state === null) return;
  expectObject(fn, { [name]: state });
  const { scale, amaxHistory } = state as ScaleState;
  expectTensor(fn, { [`${name}.scale`]: scale, [`${name}.amaxHistory`]: amaxHistory });
}

/** Throws unless the value holds the states of one product. */
export function expectMetas(fn: string, metas: unknown): void {
  expectObject(fn, { metas });
  for (const role of ["x", "kernel", "grad"] as const) expectState(fn, `metas.${role}`, (metas as ProductMetas)[role]);
}

/** Rounds x (float32, bfloat16 or float16) to dtype with the stored scale, or without a state with that of x itself. */
export function quantizeWith(state: ScaleState | null, x: Tensor, dtype: Float8): Quantized {
  expectTensor("quantizeWith", { x });
  expectState("quantizeWith", "state", state);
  const scale = state ? state.scale : currentScale(x, dtype);
  return quantizedBy({ scale }, quantizeOp({ x, scale }, { dtype }));
}

/** The scale that takes the largest magnitude of x to the largest value of dtype, float32[1]; 1 where there is none. */
export function currentScale(x: Tensor, dtype: Float8): Tensor {
  expectTensor("currentScale", { x });
  expectFloat("currentScale", { x });
  const amax = x.size === 0 ? zeros([1]) : x.abs().max().astype("float32").reshape([1]);
  const scale = div(float8Max(dtype), amax).minimum(finfo("float32").max);
  return amax.gt(0).logicalAnd(amax.isFinite()).where(scale, 1);
}

/** The result of an op that rounded to FP8 with the stored scale itself, such as a norm or an activation. */
export function quantizedBy(
  state: { readonly scale: Tensor },
  rounded: { readonly q: Tensor; readonly amax: Tensor },
): Quantized {
  expectObject("quantizedBy", { state, rounded });
  const { q, amax } = rounded;
  expectTensor("quantizedBy", { "state.scale": state.scale, q, amax });
  checkFloat8("quantizedBy", "q", q.dtype);
  return { q, scaleInv: div(1, state.scale), amax };
}

/** Marks the three parts with a name that checkpoint policies can keep; without a name the value itself. */
export function nameQuantized(of: Quantized, name: string | null | undefined): Quantized {
  expectQuantized("nameQuantized", { of });
  const { q, scaleInv, amax } = of;
  if (name !== null && name !== undefined) expectString("nameQuantized", { name });
  const mark = (part: Tensor): Tensor => (name ? checkpointName(part, name) : part);
  return { q: mark(q), scaleInv: mark(scaleInv), amax: mark(amax) };
}

/** The tensor in float32 again: q * scaleInv. */
export function dequantize(of: Pick<Quantized, "q" | "scaleInv">): Tensor {
  expectObject("dequantize", { of });
  expectTensor("dequantize", { q: of.q, scaleInv: of.scaleInv });
  return of.q.astype("float32").mul(of.scaleInv.reshape([]));
}

/** Delayed scaling of tensors of one FP8 type: a step sees the largest amax of all uses, and updates the state once. */
function delayedScaling(
  { margin, amaxComputeAlgo }: DelayedScaling,
  dtype: Float8,
): StateRule<ScaleState, { amax: Tensor }> {
  return {
    name: `delayed scaling (${dtype}, margin ${margin}, ${amaxComputeAlgo})`,
    combine: (a, b) => ({ amax: a.amax.maximum(b.amax) }),
    next({ scale, amaxHistory }, { amax }) {
      const params = { dtype, margin, amaxComputeAlgo };
      const { newScale, newHistory } = delayedScalingUpdateOp({ amax, scale, history: amaxHistory }, params);
      return { scale: newScale, amaxHistory: newHistory };
    },
  };
}

/** The state after a step that rounded a tensor with `state`; see {@link delayedScalingUpdateOp}. */
export function nextState<State extends ScaleState | null>(
  state: State,
  used: Pick<Quantized, "q" | "amax">,
  recipe: Recipe,
): State {
  const fn = "nextState";
  expectState(fn, "state", state);
  expectObject(fn, { used });
  const { q, amax } = used;
  expectTensor(fn, { q, amax });
  checkRecipe(fn, recipe);
  if (!state || !(recipe instanceof DelayedScaling)) return state;
  return stateAfter(delayedScaling(recipe, checkFloat8("nextState", "q", q.dtype)), state, { amax }) as State;
}

/**
 * The states of a product after a step: what its backward returns as the cotangent of `metas`. Where gradients reach
 * metas in more than one place, the step is taken once, with the largest amax of all.
 */
export function nextMetas<State extends ScaleState | null>(
  metas: ProductMetas<State>,
  used: ProductMetas<Quantized>,
  recipe: Recipe,
): ProductMetas<State> {
  expectMetas("nextMetas", metas);
  expectObject("nextMetas", { used });
  checkRecipe("nextMetas", recipe);
  return {
    x: nextState(metas.x, used.x, recipe),
    kernel: nextState(metas.kernel, used.kernel, recipe),
    grad: nextState(metas.grad, used.grad, recipe),
  };
}

/**
 * The states of one product from a module's variables, by their names: x_scale, x_amax_history, kernel_scale, …,
 * grad_amax_history, or with a postfix x_0_scale and so on. `variable` returns the variable of a name and creates it
 * with `init` when there is none: scales are ones, histories zeros. Throws when a stored scale is not float32[1], or a
 * history not float32 of the length that the recipe asks for. Recipes without state read and make no variables.
 */
export function productMetas(
  recipe: DelayedScaling,
  variable: (name: string, init: () => Tensor) => Tensor,
  postfix?: "" | `_${number}`,
): ProductMetas<ScaleState>;
export function productMetas(
  recipe: Recipe,
  variable: (name: string, init: () => Tensor) => Tensor,
  postfix?: "" | `_${number}`,
): ProductMetas;
export function productMetas(
  recipe: Recipe,
  variable: (name: string, init: () => Tensor) => Tensor,
  postfix: "" | `_${number}` = "",
): ProductMetas {
  checkRecipe("productMetas", recipe);
  expectFunction("productMetas", { variable });
  expectString("productMetas", { postfix });
  if (!(recipe instanceof DelayedScaling)) return { x: null, kernel: null, grad: null };
  const read = (name: string, length: number, start: number, wayOut: string): Tensor => {
    const found = variable(name, () => full([length], start));
    expectTensor("productMetas", { [name]: found });
    if (found.dtype !== "float32" || found.rank !== 1 || found.shape[0] !== length)
      fail("state", "productMetas", `${name} must be float32[${length}]`, found, wayOut);
    return found;
  };
  const state = (role: keyof ProductMetas): ScaleState => ({
    scale: read(`${role}${postfix}_scale`, 1, 1, "Pass the variables that init returned."),
    amaxHistory: read(
      `${role}${postfix}_amax_history`,
      recipe.amaxHistoryLen,
      0,
      "Use a recipe with that amaxHistoryLen, or create the variables anew.",
    ),
  });
  return { x: state("x"), kernel: state("kernel"), grad: state("grad") };
}
