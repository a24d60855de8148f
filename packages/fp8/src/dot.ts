/** Products whose operands are rounded as a recipe says, forward and backward. */
import { checkpointName, customVjp, type DType, type Tensor } from "@te/tensor";
import {
  checkOptions,
  dotShape,
  expectFunction,
  expectObject,
  expectShape,
  expectString,
  expectTensor,
  fail,
  freeAxes,
  markState,
  sameShape,
} from "@te/tensor/op";
import { currentRecipe } from "./autocast.js";
import { expectMetas, nextMetas, type ProductMetas } from "./metas.js";
import { HIGH_PRECISION } from "./ops/check.js";
import { expectQuantized, nameQuantized, type Quantized } from "./quantized.js";
import { checkRecipe } from "./recipes/index.js";
import type { ContractAxes, Recipe, Role } from "./recipes/recipe.js";
import { forwardDot } from "./tensor-scaling.js";

/** The axes that the three products of a step sum over. */
interface StepAxes {
  /** Free axes of x: what its second product, that of the kernel's gradient, sums over. */
  readonly xFree: readonly number[];
  /** Free axes of the kernel: what its second product, that of the gradient of x, sums over. */
  readonly kernelFree: readonly number[];
  /** The same axes in the result, and in its gradient: first those of x, then those of the kernel. */
  readonly rows: readonly number[];
  readonly columns: readonly number[];
}

function stepAxes(xRank: number, kernelRank: number, { lhsContract, rhsContract }: ContractAxes): StepAxes {
  const xFree = freeAxes(xRank, lhsContract, []);
  const kernelFree = freeAxes(kernelRank, rhsContract, []);
  return { xFree, kernelFree, rows: xFree.map((_, i) => i), columns: kernelFree.map((_, i) => xFree.length + i) };
}

/** Options of {@link backwardDot}. */
export interface BackwardDotOptions {
  /** The dtype of both gradients: float32, bfloat16 or float16. */
  readonly dtype: DType;
  /** The product of two quantized tensors. Default forwardDot, for tensors with one scale. */
  readonly dot?: Recipe["dot"];
}

/**
 * The cotangents of x and of the kernel, from the quantized operands of the forward product and the quantized gradient
 * of its result: one that serves both products, or one for each. Both come in `dtype`.
 *
 *     dx      = grad · kernelᵀ   over the kernel's free axes
 *     dkernel = xᵀ · grad        over the free axes of x
 */
export function backwardDot(
  x: Quantized,
  kernel: Quantized,
  grad: Quantized | readonly [forX: Quantized, forKernel: Quantized],
  axes: ContractAxes,
  options: BackwardDotOptions,
): { dx: Tensor; dkernel: Tensor } {
  const fn = "backwardDot";
  const [forX, forKernel] = (Array.isArray(grad) ? grad : [grad, grad]) as [Quantized, Quantized];
  expectQuantized(fn, { x, kernel, grad: forX, "second grad": forKernel });
  expectObject(fn, { axes, options });
  const { lhsContract, rhsContract } = axes;
  const { dtype, dot = forwardDot } = options;
  expectFunction(fn, { dot });
  dotShape(fn, x.q, kernel.q, { lhsContract, rhsContract, lhsBatch: [], rhsBatch: [] });
  const { xFree, kernelFree, rows, columns } = stepAxes(x.q.rank, kernel.q.rank, axes);
  const dx = dot(forX, kernel, { lhsContract: columns, rhsContract: kernelFree }, { dtype });
  const dkernel = dot(x, forKernel, { lhsContract: xFree, rhsContract: rows }, { dtype });
  // The contracted axes come out in the order of the operand they come from; pair them up with the other operand's.
  const ascending = (axes: readonly number[]) => [...axes].sort((a, b) => a - b);
  const pairedX = ascending(rhsContract).map((axis) => lhsContract[rhsContract.indexOf(axis)]!);
  const pairedKernel = ascending(lhsContract).map((axis) => rhsContract[lhsContract.indexOf(axis)]!);
  return { dx: placeAxes(dx, [...xFree, ...pairedX]), dkernel: placeAxes(dkernel, [...pairedKernel, ...kernelFree]) };
}

/** Moves axis i of t to place places[i]. */
function placeAxes(t: Tensor, places: readonly number[]): Tensor {
  if (places.every((place, i) => place === i)) return t;
  return t.transpose(places.map((_, i) => places.indexOf(i)));
}

/** The gradient of a bias, from the gradient of the result before rounding: its sum over the free axes of x. */
export function biasGradient(grad: Tensor, bias: Tensor): Tensor {
  expectTensor("biasGradient", { grad, bias });
  const lead = grad.rank - bias.rank;
  expectShape("biasGradient", { bias }, grad.shape.slice(Math.max(lead, 0)), "the last axes of grad");
  return grad
    .astype("float32")
    .sum(Array.from({ length: lead }, (_, i) => i))
    .astype(bias.dtype);
}

/** Options of {@link fp8DotGeneral}. */
export interface Fp8DotOptions {
  /** Default: the recipe in force. */
  readonly recipe?: Recipe | undefined;
  /** Rounded to `dtype`, and added before the result is rounded; shape of the kernel's free axes. */
  readonly bias?: Tensor | null | undefined;
  /** What the result and the gradients are rounded to: float32, bfloat16 or float16. Default: the dtype of x. */
  readonly dtype?: DType | undefined;
  /** The result, rounded to `dtype`, comes as float32, so that its gradient is rounded by the quantizer only. Default false. */
  readonly wideGradient?: boolean | undefined;
  /** Name by which checkpoint policies know the rounded operands, which the backward pass reads. */
  readonly checkpointName?: string | null | undefined;
  /** Name by which checkpoint policies know the result. */
  readonly resultName?: string | null | undefined;
}

/**
 * The product of x and kernel in FP8: free axes of x, free axes of the kernel, in the dtype of x unless another is given.
 *
 * Both operands are rounded by the quantizers of the recipe, which may read the state in `metas`. Backward rounds the
 * gradient of the result and multiplies it with the rounded operands; the gradients come in `dtype` (and are then cast to
 * the dtypes of x and of the kernel), and the cotangent of `metas` is not a gradient but their value after this step:
 * metas that serve several products, or one several times, take one step with the largest amax of all, and metas that no
 * gradient reaches keep their value. Without differentiation metas do not change.
 *
 * x, kernel: float32, bfloat16 or float16. The axes may be any, in any order and of any length. Where the recipe allows it,
 * as DelayedScaling does, the kernel may be in FP8 already, rounded with the scale in `metas`: for inference, as it has no
 * gradient then.
 */
export function fp8DotGeneral(
  x: Tensor,
  kernel: Tensor,
  metas: ProductMetas,
  axes: ContractAxes,
  options: Fp8DotOptions = {},
): Tensor {
  const fn = "fp8DotGeneral";
  expectTensor(fn, { x, kernel });
  expectObject(fn, { axes, options });
  const recipe = recipeOf(fn, options);
  expectMetas(fn, metas, recipe);
  const { lhsContract, rhsContract } = axes;
  const { bias: givenBias = null, dtype = x.dtype, wideGradient = false, checkpointName: name, resultName } = options;
  const kept = keeps(recipe, kernel);
  checkDTypes(fn, { x: x.dtype, ...(!kept && { kernel: kernel.dtype }), dtype });
  dotShape(fn, x, kernel, { lhsContract, rhsContract, lhsBatch: [], rhsBatch: [] });
  const { xFree, kernelFree, rows, columns } = stepAxes(x.rank, kernel.rank, axes);
  if (givenBias !== null) checkBias(fn, givenBias, kernel, kernelFree);
  markState(metas);

  const round = (role: Role, t: Tensor, metas: ProductMetas, uses: Uses) =>
    roundFor(recipe, role, t, metas, uses, name);
  const product = (x: Tensor, kernel: Tensor, bias: Tensor | null, metas: ProductMetas) => {
    const xq = round("x", x, metas, [lhsContract, xFree]);
    const kq = round("kernel", kernel, metas, [rhsContract, kernelFree]);
    const y = recipe.dot(xq[0], kq[0], axes, { dtype, bias: bias?.astype(dtype) });
    const named = resultName ? checkpointName(y, resultName) : y;
    return [wideGradient ? named.astype("float32") : named, { xq, kq, bias, metas }] as const;
  };
  type Residuals = ReturnType<typeof product>[1];

  const withGradient = customVjp(
    (...args: Parameters<typeof product>) => product(...args)[0],
    product,
    ({ xq, kq, bias, metas }: Residuals, grad: Tensor) => {
      if (kept)
        fail("dtype", fn, "a kernel that is kept in FP8 has no gradient", kernel, "Train the one it came from.");
      const gq = roundFor(recipe, "grad", grad, metas, [columns, rows]);
      const { dx, dkernel } = backwardDot(xq[1], kq[1], gq, axes, { dtype, dot: (...args) => recipe.dot(...args) });
      const next = nextMetas(metas, { x: xq[0], kernel: kq[0], grad: gq[0] }, recipe);
      return [dx, dkernel, bias && biasGradient(grad, bias), next];
    },
  );
  return withGradient(x, kernel, givenBias, metas);
}

/** The axes that the two products of a tensor sum over. */
type Uses = readonly [first: readonly number[], second: readonly number[]];

/** A tensor as its two products read it: rounded once for both, or once for each. */
function roundFor(
  recipe: Recipe,
  role: Role,
  t: Tensor,
  metas: ProductMetas,
  [first, second]: Uses,
  name?: string | null,
): readonly [Quantized, Quantized] {
  const quantizer = recipe.quantizer(role);
  const along = (axes: readonly number[]): Quantized => {
    const made = keeps(recipe, t) ? quantizer.kept!(t, metas[role]) : quantizer.quantize(t, metas[role], axes);
    expectMade(role, made, { q: t.shape, scaleInv: quantizer.scaleShape(t.shape, axes) }, quantizer.dtype);
    return nameQuantized(made, name);
  };
  const one = along(first);
  return [one, quantizer.copies === "one" ? one : along(second)];
}

/** Whether a tensor, which can only be a kernel, is in FP8 already. */
function keeps(recipe: Recipe, { dtype }: Tensor): boolean {
  const quantizer = recipe.quantizer("kernel");
  return quantizer.kept !== undefined && dtype === quantizer.dtype;
}

/** Throws unless a quantizer keeps to what it says. */
function expectMade(
  role: Role,
  made: Quantized,
  shapes: { readonly q: readonly number[]; readonly scaleInv: readonly number[] },
  dtype: DType,
): void {
  const fn = "fp8DotGeneral";
  expectQuantized(fn, { [`quantized ${role}`]: made });
  if (made.q.dtype !== dtype)
    fail("state", fn, `the quantizer of ${role} must make ${dtype}, as its dtype says`, made.q);
  for (const part of ["q", "scaleInv"] as const)
    if (!sameShape(made[part].shape, shapes[part]))
      fail("state", fn, `${part} of ${role} must have shape [${shapes[part]}]`, made[part]);
}

function recipeOf(fn: string, options: Fp8DotOptions): Recipe {
  checkOptions(fn, options, ["recipe", "bias", "dtype", "wideGradient", "checkpointName", "resultName"]);
  const { recipe = currentRecipe(), wideGradient = false, checkpointName, resultName } = options;
  if (typeof wideGradient !== "boolean") fail("option", fn, "wideGradient must be a boolean", wideGradient);
  if (checkpointName != null) expectString(fn, { checkpointName });
  if (resultName != null) expectString(fn, { resultName });
  const wayOut = "Call it inside autocast({ enabled: true }), or pass a recipe.";
  if (recipe == null) fail("state", fn, "no recipe is in force", undefined, wayOut);
  return checkRecipe(fn, recipe);
}

function checkDTypes(fn: string, dtypes: Readonly<Record<string, DType>>): void {
  for (const [name, dtype] of Object.entries(dtypes))
    if (!HIGH_PRECISION.includes(dtype)) fail("dtype", fn, `${name} must be float32, bfloat16 or float16`, dtype);
}

function checkBias(fn: string, bias: Tensor, kernel: Tensor, kernelFree: readonly number[]): void {
  expectTensor(fn, { bias });
  checkDTypes(fn, { bias: bias.dtype });
  const free = kernelFree.map((axis) => kernel.shape[axis]!);
  expectShape(fn, { bias }, free, "the free axes of the kernel");
}
