/** customVjp: a function whose derivative is another function. */
import { fail } from "../errors.js";
import { expectFunction } from "../expect.js";
import { Tensor } from "../tensor.js";
import { currentTrace } from "../trace.js";
import { flatten, formatTreeDef, unflatten } from "../tree.js";
import type { Cotangents } from "./types.js";

/**
 * f with a derivative of its own, as in JAX: `forward(...args)` returns [result, residuals]; `backward(residuals,
 * cotangent)` returns one cotangent tree per argument, null or undefined where it is zero. Arguments, result and
 * residuals are trees of tensors. A cotangent need not have its argument's dtype; it is cast.
 */
export function customVjp<A extends readonly any[], R extends object | [] | null | undefined, Residuals>(
  f: (...args: A) => R,
  forward: (...args: A) => readonly [result: R, residuals: Residuals],
  backward: (residuals: Residuals, cotangent: R) => Cotangents<A>,
): (...args: A) => R {
  expectFunction("customVjp", { f, forward, backward });
  return (...args) => {
    const trace = currentTrace();
    if (!trace) return f(...args);
    const start = trace.nodes.length;
    const pair: unknown = forward(...args);
    if (!Array.isArray(pair) || pair.length !== 2)
      fail("option", "customVjp", "forward must return [result, residuals]", pair ?? String(pair));
    const [result, residuals] = pair;
    const [leaves, definition] = flatten(result);
    const [residualLeaves, residualDefinition] = flatten(residuals);
    const tensors = residualLeaves.filter((leaf): leaf is Tensor => leaf instanceof Tensor);
    const flatArgs = args.map((arg) => flatten(arg));
    const outputs = trace.recordRegion(leaves as Tensor[], {
      start,
      kind: "custom",
      args: flatArgs.flatMap(([argLeaves]) => argLeaves.filter((leaf): leaf is Tensor => leaf instanceof Tensor)),
      residuals: tensors,
      pullback: (saved, grads) => {
        let next = 0;
        const restored = residualLeaves.map((leaf) => (leaf instanceof Tensor ? saved[next++] : leaf));
        const again = unflatten(residualDefinition, restored) as Residuals;
        const results: readonly unknown[] = backward(again, unflatten(definition, grads) as R);
        return flatArgs.flatMap(([argLeaves, argDefinition], i) =>
          cotangentLeaves(argLeaves, argDefinition, results[i]),
        );
      },
    });
    return unflatten(definition, outputs) as R;
  };
}

/** The cotangents at the tensor leaves of one argument; a missing subtree is zero. */
function cotangentLeaves(
  argLeaves: unknown[],
  argDefinition: ReturnType<typeof flatten>[1],
  given: unknown,
): (Tensor | undefined)[] {
  const tensors = argLeaves.filter((leaf) => leaf instanceof Tensor);
  if (given === null || given === undefined) return tensors.map(() => undefined);
  const [leaves, definition] = flatten(given);
  if (formatTreeDef(definition) !== formatTreeDef(argDefinition)) {
    fail(
      "state",
      "customVjp",
      `backward must return a cotangent like its argument, ${formatTreeDef(argDefinition)}`,
      formatTreeDef(definition),
    );
  }
  return argLeaves.flatMap((leaf, k) => (leaf instanceof Tensor ? [leaves[k] as Tensor] : []));
}
