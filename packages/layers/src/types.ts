/** Types of variables, and of the arguments and results that init and apply take over from a module's call. */
import type { Tensor } from "@te/tensor";
import type { Axes, Module } from "./module.js";

/** Tensors by name, below the names of submodules. Names are not empty and have no "/", nor are __proto__. */
export interface VariableTree {
  [name: string]: Tensor | VariableTree;
}

/** Logical axes of parameters by name. */
export interface AxesTree {
  [name: string]: Axes | AxesTree;
}

/** The variables of a module by collection: params, params_axes, fp8_metas, cache, and those of modules of your own. */
export interface Variables {
  params: VariableTree;
  params_axes?: AxesTree;
  fp8_metas?: VariableTree;
  cache?: VariableTree;
  [collection: string]: VariableTree | AxesTree | undefined;
}

/** What a collection of this name holds. */
export type CollectionNamed<C extends string> = C extends "params_axes" ? AxesTree : VariableTree;

/** One key for everything, or one per stream: { params, dropout }. */
export type Rngs = Tensor | Readonly<Record<string, Tensor>>;

/** Options of apply that are not passed on to call. */
export interface ApplyOptions<C extends string = string> {
  /** Keys of the random streams, such as { dropout }. */
  readonly rngs?: Rngs;
  /** Collections that the call may change; apply then returns [result, { ...changed collections }]. */
  readonly mutable?: readonly C[];
}

/** Arguments of init and checkVariables: those of call. */
export type InitArguments<M extends Module> = CallArguments<M> | (OptionsMove<M> extends true ? Closing<M> : never);

/** Arguments of apply without mutable: those of call, with rngs among its options or as the only option. */
export type ApplyArguments<M extends Module> = Merged<CallArguments<M>, WithoutMutable> | Closing<M, WithoutMutable>;

type WithoutMutable = ApplyOptions & { readonly mutable?: undefined };

/** Arguments of apply with mutable, which the last of them holds. */
export type MutableArguments<M extends Module, C extends string> = Closing<
  M,
  ApplyOptions<C> & { readonly mutable: readonly C[] }
>;

/** What apply gives with mutable. */
export type MutableResult<M extends Module, C extends string> = [
  result: ReturnType<M["call"]>,
  changed: { [N in C]: CollectionNamed<N> },
];

type CallArguments<M extends Module> = Parameters<M["call"]>;

/** The parameters of call, with `Own` among its options. */
type Merged<P extends readonly unknown[], Own> =
  HasOptions<P> extends true ? { [K in keyof P]: K extends `${Before<Required<P>>["length"]}` ? P[K] & Own : P[K] } : P;

/** Whether options may follow an argument that others could follow: where the module knows their place. */
type OptionsMove<M extends Module> = M["optionsPosition"] extends number ? true : false;

/**
 * Arguments that an options object closes: those of call and `Own`, which is not passed on to it. None for a Module whose
 * class is not known: any arguments are its.
 */
type Closing<M extends Module, Own = unknown> = number extends CallArguments<M>["length"]
  ? unknown extends CallArguments<M>[number]
    ? never
    : [...CallArguments<M>, options: Own]
  : HasOptions<CallArguments<M>> extends true
    ? Closed<Before<All<CallArguments<M>>>, CallArguments<M>, Last<CallArguments<M>> & Own, OptionsMove<M>, Own>
    : Closed<All<CallArguments<M>>, CallArguments<M>, Own, false, Own>;

/** [...H, options], and the same for each shorter H that call takes, where its own options may not stand unless they move. */
type Closed<H extends readonly unknown[], P extends readonly unknown[], Options, Move extends boolean, Own> =
  | [...H, options: Options]
  | Shorter<Before<H>, P, Move extends true ? Options : Own>;

type Shorter<H extends readonly unknown[], P extends readonly unknown[], Options> = H["length"] extends P["length"]
  ? [...H, options: Options] | (H extends readonly [] ? never : Shorter<Before<H>, P, Options>)
  : never;

/** All but the last. */
type Before<P extends readonly unknown[]> = P extends readonly [...infer H, unknown] ? H : [];

/** The last, if it is given. */
type Last<P extends readonly unknown[]> = Required<P> extends readonly [...unknown[], infer L] ? L : never;

/** The parameters with their names, none optional; undefined stands for one left out. */
type All<P extends readonly unknown[]> = Unboxed<{ [K in keyof P]-?: [P[K]] }>;
type Unboxed<B extends readonly unknown[]> = { [K in keyof B]: B[K] extends [infer T] ? T : never };

/** Whether the last parameter is an options object: no tensor, list or function. */
type HasOptions<P extends readonly unknown[]> = [Last<P>] extends [never]
  ? false
  : [NonNullable<Last<P>>] extends [object]
    ? [Extract<Last<P>, Tensor | readonly unknown[] | ((...args: never) => unknown)>] extends [never]
      ? true
      : false
    : false;
