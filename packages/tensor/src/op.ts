/** The contract of an op: everything about it in one object, by which kernels, passes, gradients and tests know it. */
import { type Aval, checkAval, checkShape, formatAval, freezeShape } from "./aval.js";
import type { Case, CaseBuilder } from "./cases.js";
import { checkDType, type TypedArray } from "./dtype.js";
import { fail } from "./errors.js";
import { expectArray, expectObject, expectSize } from "./expect.js";
import type { ParamKind } from "./op-check.js";
import type { RuleText } from "./sharding/rule.js";
import type { Shard } from "./sharding/shard.js";
import type { Together } from "./sharding/together.js";
import type { Tensor } from "./tensor.js";

/** A value in host memory: codes of its dtype, or unrounded float64 values when the evaluator runs wide. */
export interface HostArray extends Aval {
  readonly data: TypedArray;
}

export type ParamValue = boolean | number | string | readonly number[] | readonly string[];
export type Params = Readonly<Record<string, ParamValue>>;

/** Numbers as text that keeps what JSON loses: infinities, NaN and the sign of zero. */
export const formatNumber = (value: number): string => (Object.is(value, -0) ? "-0" : String(value));

/** Parameters as text, equal for equal parameters only. */
export function formatParams(params: Params): string {
  try {
    return JSON.stringify(params, (_, value) =>
      typeof value === "number" && (!Number.isFinite(value) || Object.is(value, -0))
        ? { number: formatNumber(value) } // no parameter is an object
        : value,
    );
  } catch {
    return fail("option", "formatParams", "parameters must be booleans, numbers, strings and lists of them", params);
  }
}

type Named<K extends string, T> = { readonly [P in K]: T };
type Maybe<K extends string, T> = { readonly [P in K]?: T | undefined };

/** What an op's vjp is given. */
export interface VjpArgs<I extends string, O extends string, P, Q extends string> {
  readonly inputs: Named<I, Tensor> & Maybe<Q, Tensor>;
  readonly outputs: Named<O, Tensor>;
  /** Cotangents. Of an op with several outputs, those that nobody used are undefined; `y` of a one-output op is always there. */
  readonly grads: Named<O, Tensor>;
  readonly params: P;
}

/** Everything about one op, in one place. */
export interface OpSpec<I extends string, O extends string, P extends object, Q extends string> {
  /** Input names in wire order. */
  inputs: readonly I[];
  /** Names of inputs that a call may leave out; they follow `inputs`. */
  optional?: readonly Q[];
  /** Any number of inputs, passed as `{ inputs: [...] }` and named "0", "1", … in the other members. */
  variadic?: boolean;
  outputs: readonly O[];
  /** Default parameters. */
  params: P;
  /**
   * What each parameter may be, where its default does not say it: a number may be any number, the items of an empty list
   * too. Checked before `shape` sees them.
   */
  kinds?: { readonly [K in keyof P]?: ParamKind };
  /** Checks the inputs and gives the outputs' shapes and dtypes. Throws TeError. */
  shape(inputs: Named<I, Aval> & Maybe<Q, Aval>, params: P): Named<O, Aval>;
  /** How a call may be split over a mesh: what `rule` makes. Read when a program is partitioned, and checked with every case. */
  sharding(inputs: Named<I, Aval> & Maybe<Q, Aval>, params: P): RuleText;
  /** What a shard computes from its parts of the inputs, where that is not `op`, the op itself, with the same parameters. */
  onShard?(
    inputs: Named<I, Tensor> & Maybe<Q, Tensor>,
    params: P,
    shard: Shard,
    op: (inputs: Named<I, Tensor> & Maybe<Q, Tensor>, params: P) => Named<O, Tensor>,
  ): Named<O, Tensor>;
  /**
   * What a device computes whose part is one of a factor that the rule marks "together". The devices run it in step, the same
   * nodes on each; where it yields they exchange, and it goes on with what this one gets.
   */
  together?(inputs: Named<I, Tensor> & Maybe<Q, Tensor>, params: P, shard: Shard): Together<Named<O, Tensor>>;
  /** A primitive in plain loops: fills `outputs`, which have the shapes that `shape` gave. */
  evaluate?(inputs: Named<I, HostArray> & Maybe<Q, HostArray>, params: P, outputs: Named<O, HostArray>): void;
  /** A composite: the same result from simpler ops. */
  reference?(inputs: Named<I, Tensor> & Maybe<Q, Tensor>, params: P): Named<O, Tensor>;
  /** Cotangents of the inputs; those left out are zero. Without it a composite differentiates its reference. */
  vjp?(args: VjpArgs<I, O, P, Q>): Maybe<I | Q, Tensor>;
  /** May refuse values when it runs, such as an index out of range: it runs before donated memory is written over. */
  checks?: boolean;
  /** Waits for other processes, perhaps while later nodes run: its inputs stay as they are until its result is read. */
  exchanges?: boolean;
  /**
   * Every element of the output is one of an input, so that state may pass through; "nowhere" where the output is the
   * input itself.
   */
  moves?: true | "nowhere";
  /** The output is linear in all inputs together, element by element: of partial sums of them it is a partial sum. */
  linear?: true;
  /** Fusable: an instruction of `elementwise` kernels, of the op's name or of the one that is given for its parameters. */
  elementwise?: true | ((params: P) => string);
  /** Elementwise kernels read it where they need it: "constant", every element is `params.value`; "broadcast" of input x. */
  folds?: "constant" | "broadcast";
  /** The output is the input's bytes, in order, under another shape: it shares their memory and costs no kernel. */
  view?: boolean;
  /** Marks a place in a trace, and is not there in programs: the output is the input. */
  transparent?: boolean;
  /** No derivative passes: what depends on the input by way of this op alone is a constant. */
  stopsGradient?: boolean;
  /** Whether the output is the first input as it is, so that the node can go. */
  changesNothing?(input: Aval, output: Aval, params: P): boolean;
  /** Outputs that are kept for the gradient: statistics, not results, and without a derivative. */
  saved?: readonly O[];
  /** How far results may be from the reference, as rows of the testkit's table of limits; "op" and "composed" by default. */
  judgedAs?: {
    /** Of every output, or output by output. */
    readonly values?: string | { readonly [K in O]?: string };
    /** Of the gradients by input, where the op has a gradient kernel of its own. */
    readonly gradients?: { readonly [K in I | Q]?: string };
  };
  /** Keeps what reads its output from being merged, fused or scheduled with what made its input: see program/simplify.ts. */
  barrier?: boolean;
  /** Output may take over the memory of the input (same shape and dtype, read before written). */
  inPlace?: readonly (readonly [I | Q, O])[];
  cases?(c: CaseBuilder): Case[];
}

type AnySpec = OpSpec<string, string, any, string>;

/** The untyped view of an op that programs hold. Those that only passes make have no sharding rule. */
export interface OpDefinition extends Omit<AnySpec, "sharding">, Partial<Pick<AnySpec, "sharding">> {
  readonly name: string;
  /** Stands for this definition in the keys of caches: the name, with a number where an earlier definition had it. */
  readonly key: string;
}

/** An op as a function of named tensors and its params. */
export interface Op<I extends string, O extends string, P extends object, Q extends string> {
  (inputs: Named<I, Tensor> & Maybe<Q, Tensor>, params?: Partial<P>): Named<O, Tensor>;
  readonly definition: OpDefinition;
}

const registry = new Map<string, OpDefinition>();
const definitions = new Map<string, number>();

function expectDefinition(fn: string, op: OpDefinition): void {
  if (typeof op !== "object" || op === null || !Array.isArray(op.inputs) || !Array.isArray(op.outputs))
    fail("option", fn, "op must be a definition that defineOp made", op ?? String(op), "Pass addOp.definition.");
}

/** Every op defined so far, by name. */
export const definedOps = (): ReadonlyMap<string, OpDefinition> => registry;

/** Makes a definition known under its name, and gives it the key that tells it from earlier ones of that name. */
export function registerOp(name: string, spec: OpSpec<any, any, any, any>): OpDefinition {
  const count = (definitions.get(name) ?? 0) + 1;
  definitions.set(name, count);
  const definition: OpDefinition = { ...spec, name, key: count === 1 ? name : `${name}#${count}` };
  registry.set(name, definition);
  return definition;
}

const namesCache = new WeakMap<OpDefinition, string[]>();

/** Names of the inputs in wire order; a variadic op numbers them. */
export function inputNames(op: OpDefinition, count = 0): string[] {
  expectDefinition("inputNames", op);
  expectSize("inputNames", { count });
  if (op.variadic) return Array.from({ length: count }, (_, i) => String(i));
  let names = namesCache.get(op);
  if (!names) {
    names = [...op.inputs, ...(op.optional ?? [])];
    namesCache.set(op, names);
  }
  return names;
}

/** An op's inputs by name. */
export function nameInputs<T>(op: OpDefinition, values: readonly (T | undefined)[]): Record<string, T> {
  expectArray("nameInputs", "values", { values });
  const named: Record<string, T> = {};
  const names = inputNames(op, values.length);
  for (let i = 0; i < names.length; i++) if (values[i] !== undefined) named[names[i]!] = values[i]!;
  return named;
}

/** An op's outputs by name. */
export function nameOutputs<T>(op: OpDefinition, values: readonly T[]): Record<string, T> {
  expectDefinition("nameOutputs", op);
  expectArray("nameOutputs", "values", { values });
  return Object.fromEntries(op.outputs.map((name, i) => [name, values[i]!]));
}

/** Runs the shape rule on positional avals. */
export function inferShapes(op: OpDefinition, inputs: readonly (Aval | undefined)[], params: Params): Aval[] {
  expectDefinition("inferShapes", op);
  expectArray(op.name, "shapes and dtypes", { inputs });
  for (let i = 0; i < Math.max(inputs.length, op.inputs.length); i++) {
    if (inputs[i] !== undefined || i < op.inputs.length) checkAval(op.name, inputs[i]!);
  }
  expectObject(op.name, { params });
  const named = op.shape(nameInputs(op, inputs), params);
  return op.outputs.map((name) => {
    const out = named[name];
    if (!out)
      fail(
        "state",
        op.name,
        `the shape rule must describe output ${name}`,
        inputs.map((a) => a && formatAval(a)),
      );
    return { shape: freezeShape(checkShape(op.name, out.shape)), dtype: checkDType(op.name, out.dtype) };
  });
}
