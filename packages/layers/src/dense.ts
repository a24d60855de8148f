/** What the dense layers share: products in high precision or FP8, adapters, biases. */
import {
  type ContractAxes,
  currentRecipe,
  FP8_COLLECTION_NAME,
  type Fp8DotOptions,
  fp8DotGeneral,
  type ProductMetas,
  productMetas,
  type Recipe,
} from "@te/fp8";
import { checkpointName, type DType, dot, type Tensor } from "@te/tensor";
import { expectDType, expectTensor, FLOATS, fail, isFloat8, MAX_RANK, warnOnce } from "@te/tensor/op";
import { TE_GEMM } from "./checkpoint-policies.js";

/** The FP8 state of one product of a module, and the recipe; undefined outside of an enabled autocast. */
export interface Fp8Product {
  readonly recipe: Recipe;
  readonly metas: ProductMetas;
}

type VariableMaker = (collection: string, name: string, init: () => Tensor) => { value: Tensor };

/** Makes or reads the state of product `index` of a module; a module with one product names it without a number. */
export function fp8Product(variable: VariableMaker, index?: number): Fp8Product | undefined {
  const recipe = currentRecipe();
  if (!recipe) return undefined;
  const read = (name: string, init: () => Tensor): Tensor => variable(FP8_COLLECTION_NAME, name, init).value;
  return { recipe, metas: productMetas(recipe, read, index === undefined ? "" : `_${index}`) };
}

/**
 * x · kernel: in FP8 where a recipe is in force, as `options` say, else in the dtype of x with the kernel cast to it.
 */
export function product(
  x: Tensor,
  kernel: Tensor,
  axes: ContractAxes,
  fp8: Fp8Product | undefined,
  options: Omit<Fp8DotOptions, "recipe"> = {},
): Tensor {
  if (fp8) return fp8DotGeneral(x, kernel, fp8.metas, axes, { ...options, recipe: fp8.recipe });
  return checkpointName(dot(x, kernel.astype(x.dtype), { ...axes, dtype: x.dtype }), TE_GEMM);
}

/** Throws unless x is a float32, bfloat16 or float16 tensor with an axis: parameters follow its shape. */
export function checkInput(fn: string, x: Tensor): void {
  expectTensor(fn, { x });
  expectDType(fn, { x }, ...FLOATS);
  if (x.rank === 0) fail("shape", fn, "x must have at least one axis", x);
}

/**
 * Says once that 16-bit parameters, of dtype `stored`, meet a float32 input. As in the original computation follows the input, so
 * that a whole model may run in float32 because its first layer did. Parameters in FP8 are multiplied as they are.
 */
export function warnWideInput(fn: string, x: Tensor, stored: DType): void {
  expectTensor(fn, { x });
  if (x.dtype !== "float32" || stored === "float32" || isFloat8(stored)) return;
  const rule = `parameters are ${stored}, but computation is in float32, the dtype of the input`;
  const wayOut = `Cast the input with astype("${stored}"), or the parameters to float32 where that is meant.`;
  warnOnce(`${fn}: ${rule}. ${wayOut}`, `wide input of ${stored}`);
}

/** Throws unless parameters can have this dtype. */
export function checkParameterDType(fn: string, dtype: DType): void {
  if (!FLOATS.includes(dtype)) fail("dtype", fn, `dtype must be ${FLOATS.join(" or ")}`, dtype);
}

/** Throws for an `axis` other than -1, the number. */
export function checkLastAxis(fn: string, axis: unknown, wayOut: string): void {
  if (axis !== -1) fail("option", fn, "axis must be -1", axis, wayOut);
}

/** y + bias along the trailing axes, in the dtype of y. */
export const addBias = (y: Tensor, bias: Tensor): Tensor => y.add(bias.astype(y.dtype));

/** Axes of an input counted from 0, in the given order. */
export function contractedAxes(fn: string, axis: number | readonly number[], rank: number): number[] {
  const given = typeof axis === "number" ? [axis] : axis;
  if (!Array.isArray(given)) fail("option", fn, "axis must be a number or an array of them", axis);
  const axes = given.map((a) => {
    if (!Number.isInteger(a) || a < -rank || a >= rank) fail("option", fn, `axis must be in [${-rank}, ${rank})`, a);
    return a < 0 ? a + rank : a;
  });
  if (axes.length === 0 || new Set(axes).size !== axes.length)
    fail("option", fn, "axis must name distinct axes of the input", `[${axes}]`);
  return axes;
}

/** Feature sizes as a list. */
export function featureList(fn: string, features: number | readonly number[]): number[] {
  if (features === undefined) fail("option", fn, "features is required");
  if (Array.isArray(features) && features.length > MAX_RANK)
    fail("option", fn, `features must be at most ${MAX_RANK} integers`, `${features.length} of them`);
  const list = Array.isArray(features) ? [...features] : [features];
  if (list.length === 0 || list.some((f) => !Number.isInteger(f) || f < 1)) {
    fail("option", fn, "features must be a positive integer or a list of them", list);
  }
  return list;
}
