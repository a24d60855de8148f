/** What a recipe is: a quantizer for each tensor of a product, and the product of what these make. */
import type { DType, Tensor } from "@te/tensor";
import type { StateRule } from "@te/tensor/op";
import type { Quantized } from "../quantized.js";

/** The tensors of a product: its input, its kernel, and the gradient of its result. */
export type Role = "x" | "kernel" | "grad";

export const ROLES = ["x", "kernel", "grad"] as const satisfies readonly Role[];

/** What is kept of one tensor from step to step, by name. */
export type TensorState = Readonly<Record<string, Tensor>>;

/** A float32 variable in which a module keeps one entry of a {@link TensorState}. */
export interface StateVariable {
  /** What its name ends with: `x_scale`, or `x_0_scale` in a module with several products. */
  readonly suffix: string;
  readonly shape: readonly number[];
  /** The value of all of its elements before the first step. */
  readonly initial: number;
  /** What to do about variables of another shape. */
  readonly wayOut: string;
}

/** How a recipe rounds one tensor of a product, and what it keeps of it. Without state `State` is null. */
export interface Quantizer<State extends TensorState | null = TensorState | null> {
  /** Type of the rounded elements. */
  readonly dtype: DType;
  /**
   * "one": a tensor is rounded once, and the result serves products over any of its axes. "each": it is rounded once for
   * every list of axes that a product sums over, row by row and column by column, because scales lie along these.
   */
  readonly copies: "one" | "each";
  /** Shape of the scales of a tensor of this shape, for a product that sums over the axes `along`. */
  scaleShape(shape: readonly number[], along: readonly number[]): readonly number[];
  /** The variables of the state, by the names of its entries; {} without state. */
  readonly variables: Readonly<Record<keyof NonNullable<State> & string, StateVariable>>;
  /** How the state goes on after a step in which the largest magnitude was amax, float32[1]; null without state. */
  readonly rule: StateRule<NonNullable<State>, { amax: Tensor }> | null;
  /**
   * Rounds x, float32, bfloat16 or float16, for products that sum over the axes `along`, in this order; over any where
   * `copies` is "one". q has the shape of x. With state amax must be there.
   */
  quantize(x: Tensor, state: State, along: readonly number[]): Quantized;
  /**
   * What elements that are kept in `dtype` stand for, where the state holds their scale: a kernel that was rounded once, for
   * inference. Without it kernels are kept in high precision.
   */
  kept?(q: Tensor, state: State): Quantized;
}

/** The axes of x and of the kernel that a product sums over, pair by pair. */
export interface ContractAxes {
  readonly lhsContract: readonly number[];
  readonly rhsContract: readonly number[];
}

/** How the product of two quantized tensors is finished. */
export interface ForwardDotOptions {
  /** The dtype of the result: float32, bfloat16 or float16. */
  readonly dtype: DType;
  /** Added before the result is rounded; shape of the kernel's free axes. */
  readonly bias?: Tensor | null;
}

/**
 * A way to multiply in few bits. Anything that has these members is a recipe: autocast puts it in force, and every layer
 * follows it. Two recipes are the same where they print the same, so toString must tell all that matters.
 */
export interface Recipe<State extends TensorState | null = TensorState | null> {
  /** How the tensors of this role are rounded. */
  quantizer(role: Role): Quantizer<State>;
  /** The product of two quantized tensors: free axes of a, free axes of b. Both were quantized along their axes of it. */
  dot(a: Quantized, b: Quantized, axes: ContractAxes, options: ForwardDotOptions): Tensor;
  /**
   * Whether a tensor that is computed for a product alone, by a norm or an activation, is rounded from float32. False:
   * it takes the dtype of activations before, as every result does.
   */
  readonly fromFloat32: boolean;
  toString(): string;
}

/** Whether a value has the members of a {@link Recipe}. */
export function isRecipe(value: unknown): value is Recipe {
  if (typeof value !== "object" || value === null) return false;
  const { quantizer, dot, fromFloat32, toString: print } = value as Partial<Recipe>;
  const prints = typeof print === "function" && print !== Object.prototype.toString;
  return prints && typeof quantizer === "function" && typeof dot === "function" && typeof fromFloat32 === "boolean";
}
