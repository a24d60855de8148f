/** From a function to its program: calls it on traced stand-ins of its arguments. */
import { fail } from "../errors.js";
import { expectArray, expectFunction } from "../expect.js";
import { checkFunction } from "../options.js";
import { runCached } from "../program/compile.js";
import { lower } from "../program/lower.js";
import type { Program } from "../program/program.js";
import { Tensor, tensor } from "../tensor.js";
import { currentTrace, withTrace } from "../trace.js";
import { flatten, type TreeDef, unflatten } from "../tree.js";
import type { AnyResult, Shapes } from "./types.js";

/** How to put results back: outputs of the program at tensor leaves, other leaves as they were. */
export interface ResultTree {
  readonly definition: TreeDef;
  readonly leaves: readonly ({ readonly output: number } | { readonly value: unknown })[];
}

export interface TraceOptions {
  /** Inputs, counted over all arguments, whose memory the results may take over. */
  readonly donated?: (input: number) => boolean;
  /** A tensor that occurs twice in the arguments is one object inside f too. Only for programs that are not kept. */
  readonly keepIdentity?: boolean;
}

/** Calls f on traced stand-ins of `args` (trees whose leaves are tensors) and makes a program of what it did. */
export function traceFunction(
  f: (...args: any[]) => unknown,
  args: readonly unknown[],
  { donated = () => false, keepIdentity = false }: TraceOptions = {},
): { program: Program; result: ResultTree } {
  return withTrace((trace) => {
    const given: Tensor[] = [];
    const donatedInputs: number[] = [];
    const known = new Map<Tensor, Tensor>();
    const standIns = args.map((arg) => {
      const [leaves, definition] = flatten(arg);
      const traced = leaves.map((leaf) => {
        if (!(leaf instanceof Tensor)) return leaf;
        const input = trace.input({ shape: leaf.shape, dtype: leaf.dtype });
        if (donated(given.length)) donatedInputs.push(given.length);
        given.push(input);
        if (!keepIdentity) return input;
        if (!known.has(leaf)) known.set(leaf, input);
        return known.get(leaf);
      });
      return unflatten(definition, traced);
    });
    const returned = f(...standIns);
    refusePromise("jit", returned);
    const [leaves, definition] = flatten(returned);
    const outputs: Tensor[] = [];
    const resultLeaves = leaves.map((leaf) =>
      leaf instanceof Tensor ? { output: outputs.push(leaf) - 1 } : { value: leaf },
    );
    return { program: lower(trace, given, outputs, donatedInputs), result: { definition, leaves: resultLeaves } };
  });
}

/** Throws where a traced function is asynchronous. */
export function refusePromise(fn: string, returned: unknown): void {
  if (!(returned instanceof Promise)) return;
  returned.catch(() => {}); // Most often it rejects for the same reason; nobody else waits for it.
  const wayOut = "Read data before or after it, not inside.";
  fail("traced", fn, "a traced function must be synchronous", "a Promise", wayOut);
}

export function rebuild(result: ResultTree, outputs: readonly Tensor[]): unknown {
  return unflatten(
    result.definition,
    result.leaves.map((leaf) => ("output" in leaf ? outputs[leaf.output] : leaf.value)),
  );
}

/** Numbers become float32 scalars, so that a new value does not mean a new program. */
export function numbersToTensors(arg: unknown): unknown {
  const [leaves, definition] = flatten(arg);
  return unflatten(
    definition,
    leaves.map((leaf) => (typeof leaf === "number" ? tensor(leaf) : leaf)),
  );
}

export const tensorLeaves = (args: readonly unknown[]): Tensor[] =>
  flatten(args)[0].filter((leaf): leaf is Tensor => leaf instanceof Tensor);

/** Traces f on concrete arguments and runs the program once. While something else is traced, f becomes part of that. */
export function runTraced(f: (...args: any[]) => unknown, args: readonly unknown[]): unknown {
  expectFunction("runTraced", { f });
  expectArray("runTraced", "arguments", { args });
  if (currentTrace()) return f(...args);
  const { program, result } = traceFunction(f, args, { keepIdentity: true });
  return rebuild(result, runCached(program.named(f.name), tensorLeaves(args)));
}

/**
 * What f would give for these arguments, as in JAX: the same tree with the shape and dtype in place of every tensor. Nothing is
 * computed.
 */
export function evalShape<A extends readonly any[], R extends AnyResult>(f: (...args: A) => R, ...args: A): Shapes<R> {
  checkFunction("evalShape", f);
  const { program, result } = traceFunction(f, args, { keepIdentity: true });
  const shapes = program.outputs.map((id) => program.values[id]!);
  return unflatten(
    result.definition,
    result.leaves.map((leaf) => ("output" in leaf ? shapes[leaf.output] : leaf.value)),
  ) as Shapes<R>;
}
