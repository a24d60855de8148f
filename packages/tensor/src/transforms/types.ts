/** Types of what transformations take and give: the gradient of a tree, the shapes of a tree, positions of arguments. */
import type { Aval } from "../aval.js";
import type { Tensor } from "../tensor.js";
import type { Tree } from "../tree.js";

/** Anything. Where a function is written in place, the `[]` makes a tuple of an array that it returns. */
export type AnyResult = NonNullable<unknown> | [] | null | undefined;

/** A function with any parameters. */
export type AnyFunction = (...args: any[]) => AnyResult;

/** The gradient with respect to a T: a tensor for each tensor and number; strings, booleans and null stay. */
export type Gradient<T> =
  T extends Tree<Tensor | string | boolean>
    ? T
    : T extends number
      ? Tensor
      : T extends object
        ? { [K in keyof T]: Gradient<T[K]> }
        : T;

/** A T that may hold a number, a float32 scalar, in the place of each tensor. */
export type Primal<T> = T | (T extends Tensor ? number : T extends object ? { [K in keyof T]: Primal<T[K]> } : never);

/** The gradients of all arguments. */
export type Gradients<A extends readonly unknown[]> = { [K in keyof A]: Gradient<A[K]> };

/** Arguments of which all may be differentiated. */
export type Primals<A extends readonly unknown[]> = { [K in keyof A]: Primal<A[K]> };

/** What backward of customVjp gives for its arguments: null and undefined are zero. */
export type Cotangents<A extends readonly unknown[]> = { readonly [K in keyof A]: Gradient<A[K]> | null | undefined };

/** The positions of arguments: 0 | 1 for [Tensor, Tensor], any number for Tensor[]. */
export type Position<A extends readonly unknown[]> = number extends A["length"]
  ? number
  : Exclude<Partial<A>["length"], Required<A>["length"]>;

/** Positions to differentiate by: one, or an array of them. */
export type Argnums<A extends readonly unknown[]> = Position<A> | readonly Position<A>[];

/** The gradient at one position, or a tuple of the gradients at several. */
export type GradientAt<A extends readonly unknown[], N> = N extends number
  ? Gradient<A[N]>
  : { -readonly [K in keyof N]: N[K] extends number ? Gradient<A[N[K]]> : never };

/** The tree with the shape and dtype in place of every tensor. */
export type Shapes<T> = unknown extends T
  ? T
  : T extends Tensor
    ? Aval
    : T extends object
      ? { [K in keyof T]: Shapes<T[K]> }
      : T;
