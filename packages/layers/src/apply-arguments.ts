/** The arguments of init and apply. */
import { Tensor } from "@te/tensor";
import { fail } from "@te/tensor/op";
import { checkName } from "./names.js";
import { isCollection } from "./scope.js";
import type { ApplyOptions, Rngs, Variables } from "./types.js";

/** A last argument that is a plain object holds options; rngs and mutable are split off. */
export function splitOptions(args: unknown[]): { callArgs: unknown[]; options: ApplyOptions } {
  const last = args.at(-1);
  if (!isPlainObject(last)) return { callArgs: args, options: {} };
  const { rngs, mutable, ...rest } = last as ApplyOptions & Record<string, unknown>;
  const callArgs = Object.keys(rest).length ? [...args.slice(0, -1), rest] : args.slice(0, -1);
  return { callArgs, options: { ...(rngs !== undefined && { rngs }), ...(mutable !== undefined && { mutable }) } };
}

/** Whether a value is an object as `{ … }` makes it. */
export const isPlainObject = (x: unknown): x is object =>
  typeof x === "object" && x !== null && Object.getPrototypeOf(x) === Object.prototype;

/** The random streams: a key alone is that of "params". */
export function namedRngs(fn: string, rngs: Rngs): Readonly<Record<string, Tensor>> {
  if (rngs instanceof Tensor) return { params: rngs };
  if (typeof rngs !== "object" || rngs === null || Array.isArray(rngs))
    fail("option", fn, "rngs must be a key or an object of keys by name", rngs ?? String(rngs), "Use random.key.");
  for (const [stream, key] of Object.entries(rngs)) {
    checkName(fn, "the name of a random stream", stream);
    if (key !== undefined && !(key instanceof Tensor))
      fail("option", fn, `rngs.${stream} must be a key`, key, "Make one with random.key(seed).");
  }
  return rngs;
}

/** Throws unless the argument is a tree of collections. */
export function expectVariables(fn: string, variables: unknown): asserts variables is Partial<Variables> {
  const wayOut = "Pass what init returned, or { params, … }.";
  if (!isCollection(variables))
    fail("state", fn, "variables must be an object of collections", variables ?? String(variables), wayOut);
  for (const [name, collection] of Object.entries(variables))
    if (collection !== undefined && !isCollection(collection))
      fail("state", fn, `${name} must be a collection, an object of variables by name`, collection, wayOut);
}

/** Throws unless the option is a list of names. */
export function checkMutable(fn: string, mutable: unknown): void {
  if (mutable === undefined) return;
  // A string would be taken for a list of its letters.
  if (!Array.isArray(mutable))
    fail("option", fn, "mutable must be an array of names of collections", mutable, 'Write mutable: ["cache"].');
  for (const name of mutable) checkName(fn, "the name of a collection in mutable", name);
}
