/** Whether a tree of variables, such as one made of weights from elsewhere, is what a module's init makes. */
import { type Aval, TeError } from "@te/tensor";
import { fail, formatAval, isFloat, nearestName, sameShape, sizeOf } from "@te/tensor/op";
import { expectVariables } from "./apply-arguments.js";
import { isCollection } from "./scope.js";
import type { Variables } from "./types.js";

/** Variables, or a tree of the same names with shapes and dtypes, as evalShape makes. */
export type ExpectedVariables = { readonly [name: string]: unknown };

type Leaves = ReadonlyMap<string, Aval>;

/** Lines of one message; a model has hundreds of weights. */
const MAX_LINES = 20;

/** A tree that holds itself has no end. */
const MAX_DEPTH = 100;

/**
 * Throws a TeError "state" unless `variables` has what `expected`, such as the result of init, has: in each of its collections
 * the same names, at each the same shape, and floats where floats are. It names what is missing, what is unexpected and what
 * has another shape, with the nearest names. Collections that `expected` does not have are left alone, and params_axes too;
 * 16-bit floats may stand for float32 and the other way.
 *
 * A square weight that was not transposed has the right shape: no check of shapes can find it. Where its name is foreign the
 * message says so; where it was renamed it is up to the caller: a kernel here is [in, out], a weight of PyTorch's Linear
 * [out, in].
 */
export function checkVariables(expected: ExpectedVariables, variables: Partial<Variables>): void {
  compareVariables("checkVariables", expected, variables);
}

/** {@link checkVariables} on behalf of `fn`. */
export function compareVariables(fn: string, expected: ExpectedVariables, variables: Partial<Variables>): void {
  expectVariables("checkVariables", expected);
  expectVariables(fn, variables);
  const lines = Object.keys(expected)
    .filter((collection) => collection !== "params_axes")
    .flatMap((name) => differences(leavesOf(expected[name], name), leavesOf(variables[name], name)));
  if (lines.length === 0) return;
  const shown = lines.slice(0, MAX_LINES).map((line) => `\n  ${line}`);
  const rest = lines.length > MAX_LINES ? `\n  and ${lines.length - MAX_LINES} more` : "";
  const rule = "variables must have the names and shapes that init gives";
  const count = `${lines.length} difference${lines.length === 1 ? "" : "s"}`;
  throw new TeError("state", `${fn}: ${rule}, got ${count}:${shown.join("")}${rest}`);
}

/** Tensors, or their shapes, by path. */
function leavesOf(node: unknown, path: string, into = new Map<string, Aval>()): Leaves {
  if (path.split("/").length > MAX_DEPTH)
    fail(
      "state",
      "checkVariables",
      `variables must be a tree of at most ${MAX_DEPTH} levels`,
      `${path.slice(0, 60)}/…`,
    );
  if (isAval(node)) into.set(path, node);
  else if (isCollection(node)) for (const [key, value] of Object.entries(node)) leavesOf(value, `${path}/${key}`, into);
  else if (node !== undefined && node !== null) into.set(path, { shape: [], dtype: typeof node as never });
  return into;
}

const isAval = (node: unknown): node is Aval =>
  typeof node === "object" && node !== null && "dtype" in node && "shape" in node && Array.isArray(node.shape);

function differences(expected: Leaves, given: Leaves): string[] {
  const missing = [...expected.keys()].filter((path) => !given.has(path));
  const strangers = [...given.keys()].filter((path) => !expected.has(path));
  return [
    ...missing.map(
      (path) => `${path} ${formatAval(expected.get(path)!)} is missing${near(path, strangers, expected, given)}`,
    ),
    ...strangers.map(
      (path) => `${path} ${formatAval(given.get(path)!)} is unexpected${near(path, missing, given, expected)}`,
    ),
    ...[...expected].flatMap(([path, want]) => (given.has(path) ? compare(path, want, given.get(path)!) : [])),
  ];
}

/** "; is it …?": the nearest path among the others, by its name or else by its module and shape. */
function near(path: string, others: readonly string[], from: Leaves, to: Leaves): string {
  const parent = (of: string): string => of.slice(0, of.lastIndexOf("/"));
  const alike = (other: string): boolean =>
    parent(other) === parent(path) && sameSizes(from.get(path)!, to.get(other)!);
  const siblings = others.filter((other) => parent(other) === parent(path));
  const found = nearestName(path, others) ?? others.find(alike) ?? (siblings.length === 1 ? siblings[0] : undefined);
  if (!found) return "";
  const foreign = [path, found].some((name) => name.endsWith("/weight"));
  const transposed = foreign && from.get(path)!.shape.length > 1;
  return `; is it ${found}?${transposed ? " A weight of PyTorch's Linear is [out, in] and a kernel [in, out]: transpose it, square or not." : ""}`;
}

const sameSizes = (a: Aval, b: Aval): boolean => String([...a.shape].sort()) === String([...b.shape].sort());

function compare(path: string, want: Aval, got: Aval): string[] {
  if (!sameShape(want.shape, got.shape)) {
    const line = `${path} must have shape [${want.shape}], got ${formatAval(got)}`;
    const reversed = sameShape([...want.shape].reverse(), got.shape) || swapsParts(want.shape, got.shape);
    if (reversed) return [`${line}: is it transposed? A kernel is [in, out].`];
    return [sizeOf(want.shape) === sizeOf(got.shape) ? `${line}, of as many elements: does it want a reshape?` : line];
  }
  if (isFloat(want.dtype) === isFloat(got.dtype) && (isFloat(got.dtype) || want.dtype === got.dtype)) return [];
  return [`${path} must be ${isFloat(want.dtype) ? "floating" : want.dtype}, got ${formatAval(got)}`];
}

/** Whether one is [...rest, first] of the other, as a kernel [in, heads, depth] and a weight [heads, depth, in] are. */
const swapsParts = ([first, ...rest]: readonly number[], got: readonly number[]): boolean =>
  rest.length > 0 && sameShape([...rest, first!], got);
