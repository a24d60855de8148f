import { customVjp, type DType, type Tensor } from "@te/tensor";
import {
  checkOptions,
  dotShape,
  expectObject,
  expectShape,
  expectTensor,
  fail,
  freeAxes,
  markState,
} from "@te/tensor/op";
import { currentRecipe } from "./autocast.js";
import { HIGH_PRECISION } from "./ops/check.js";
import { scaledDotOp } from "./ops/scaled-dot.js";
import {
  expectMetas,
  expectQuantized,
  nameQuantized,
  nextMetas,
  type ProductMetas,
  type Quantized,
  quantizeWith,
} from "./quantizer.js";
import { checkRecipe, type Recipe } from "./recipes/index.js";

/** The axes of x and of the kernel that a product sums over, pair by pair. */
export interface ContractAxes {
  readonly lhsContract: readonly number[];
  readonly rhsContract: readonly number[];
}

/** Options of {@link forwardDot}. */
export interface ForwardDotOptions {
  /** The dtype of the result: float32, bfloat16 or float16. */
  readonly dtype: DType;
  /** Added before the result is rounded; shape of the kernel's free axes. */
  readonly bias?: Tensor | null;
}

type ResultDType = "float32" | "bfloat16" | "float16";

/** The product of quantized x and kernel: free axes of x, free axes of the kernel. */
export function forwardDot(x: Quantized, kernel: Quantized, axes: ContractAxes, options: ForwardDotOptions): Tensor {
  const fn = "forwardDot";
  expectQuantized(fn, { x, kernel });
  expectObject(fn, { axes, options });
  const { dtype, bias } = options;
  return scaledDotOp(
    { a: x.q, b: kernel.q, aScaleInv: x.scaleInv, bScaleInv: kernel.scaleInv, bias: bias ?? undefined },
    { ...axes, dtype: dtype as ResultDType },
  ).y;
}

/**
 * The cotangents of x and of the kernel, from the quantized operands of the forward product and the quantized gradient
 * of its result, which serves both. Both come in `dtype`.
 *
 *     dx      = grad · kernelᵀ   over the kernel's free axes
 *     dkernel = xᵀ · grad        over the free axes of x
 */
export function backwardDot(
  x: Quantized,
  kernel: Quantized,
  grad: Quantized,
  axes: ContractAxes,
  options: { readonly dtype: DType },
): { dx: Tensor; dkernel: Tensor } {
  const fn = "backwardDot";
  expectQuantized(fn, { x, kernel, grad });
  expectObject(fn, { axes, options });
  const { lhsContract, rhsContract } = axes;
  const { dtype } = options;
  dotShape(fn, x.q, kernel.q, { lhsContract, rhsContract, lhsBatch: [], rhsBatch: [] });
  const xFree = freeAxes(x.q.rank, lhsContract, []);
  const kernelFree = freeAxes(kernel.q.rank, rhsContract, []);
  const rows = xFree.map((_, i) => i);
  const columns = kernelFree.map((_, i) => xFree.length + i);
  const dx = scaledDotOp(
    { a: grad.q, b: kernel.q, aScaleInv: grad.scaleInv, bScaleInv: kernel.scaleInv },
    { lhsContract: columns, rhsContract: kernelFree, dtype: dtype as ResultDType },
  ).y;
  const dkernel = scaledDotOp(
    { a: x.q, b: grad.q, aScaleInv: x.scaleInv, bScaleInv: grad.scaleInv },
    { lhsContract: xFree, rhsContract: rows, dtype: dtype as ResultDType },
  ).y;
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
  /** Added before the result is rounded; shape of the kernel's free axes. */
  readonly bias?: Tensor | null | undefined;
  /** Name by which checkpoint policies know the rounded operands, which the backward pass reads. */
  readonly checkpointName?: string | null | undefined;
}

/**
 * The product of x and kernel in FP8: free axes of x, free axes of the kernel, in the dtype of x.
 *
 * Both operands are rounded, under delayed scaling with the scales stored in `metas`. Backward rounds the gradient of the result once and
 * multiplies it with the same rounded operands; the gradients come in the dtype of x (that of the kernel is then cast
 * to the kernel's dtype), and the cotangent of `metas` is not a gradient but their value after this step: metas that
 * serve several products, or one several times, take one step with the largest amax of all, and metas that no gradient
 * reaches keep their value. Without differentiation metas do not change.
 *
 * x, kernel: float32, bfloat16 or float16. The axes may be any, in any order and of any length.
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
  expectMetas(fn, metas);
  expectObject(fn, { axes, options });
  checkOptions(fn, options, ["recipe", "bias", "checkpointName"]);
  if (options.bias != null) expectTensor(fn, { bias: options.bias });
  if (options.recipe != null) checkRecipe(fn, options.recipe);
  const recipe = options.recipe ?? currentRecipe();
  if (!recipe)
    fail(
      "state",
      "fp8DotGeneral",
      "no recipe is in force",
      undefined,
      "Call it inside autocast({ enabled: true }), or pass a recipe.",
    );
  if (!HIGH_PRECISION.includes(x.dtype)) fail("dtype", "fp8DotGeneral", "x must be float32, bfloat16 or float16", x);
  const { dtype } = x;
  const { forward, backward } = recipe.fp8Format;
  markState(metas);

  const product = (x: Tensor, kernel: Tensor, bias: Tensor | null, metas: ProductMetas) => {
    const xq = nameQuantized(quantizeWith(metas.x, x, forward), options.checkpointName);
    const kq = nameQuantized(quantizeWith(metas.kernel, kernel, forward), options.checkpointName);
    return [forwardDot(xq, kq, axes, { dtype, bias }), { xq, kq, bias, metas }] as const;
  };
  type Residuals = ReturnType<typeof product>[1];

  const withGradient = customVjp(
    (x: Tensor, kernel: Tensor, bias: Tensor | null, metas: ProductMetas) => product(x, kernel, bias, metas)[0],
    product,
    ({ xq, kq, bias, metas }: Residuals, grad: Tensor) => {
      const gq = quantizeWith(metas.grad, grad, backward);
      const { dx, dkernel } = backwardDot(xq, kq, gq, axes, { dtype });
      return [dx, dkernel, bias && biasGradient(grad, bias), nextMetas(metas, { x: xq, kernel: kq, grad: gq }, recipe)];
    },
  );
  return withGradient(x, kernel, options.bias ?? null, metas);
}
