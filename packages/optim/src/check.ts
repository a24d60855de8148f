/** What update is given: trees of tensors of one structure, and a state that init made. */
import { Tensor, tree } from "@te/tensor";
import { fail, formatAval, sameShape } from "@te/tensor/op";

type Leaves = readonly [name: string, byPath: ReadonlyMap<string, unknown>];

/**
 * Throws unless the trees, which are named for errors, hold tensors, and all of them those of the first: at the same
 * paths, of the same shapes. undefined is a tree that was not given.
 */
export function expectTrees(fn: string, trees: Readonly<Record<string, unknown>>): void {
  const given = Object.entries(trees).filter(([, value]) => value !== undefined);
  const [first, ...rest] = given.map(([name, value]) => leavesOf(name, value));
  if (!first) return;
  expectTensors(fn, first);
  for (const other of rest) {
    expectSamePaths(fn, first, other);
    expectTensors(fn, other);
    for (const [path, leaf] of first[1]) {
      const [wanted, found] = [leaf as Tensor, other[1].get(path) as Tensor];
      if (sameShape(wanted.shape, found.shape)) continue;
      const rule = `${at(other, path)} must have the shape of ${at(first, path)}, ${formatAval(wanted)}`;
      fail("shape", fn, rule, found, "They must belong to the same parameters.");
    }
  }
}

/** Throws unless `mask` has true or false for every parameter. */
export function expectMask(fn: string, mask: unknown, params: unknown): void {
  const found = leavesOf("mask", mask);
  expectSamePaths(fn, leavesOf("params", params), found);
  for (const [path, leaf] of found[1])
    if (typeof leaf !== "boolean") fail("option", fn, `${at(found, path)} must be true or false`, leaf);
}

/** Throws unless the state has these entries and no others, as init of the same transformation made it. */
export function expectState(fn: string, state: unknown, ...keys: readonly string[]): void {
  const found = typeof state === "object" && state !== null && !(state instanceof Tensor) ? Object.keys(state) : [];
  if (found.length !== keys.length || !keys.every((key) => found.includes(key))) {
    const got = found.length ? `{ ${found.join(", ")} }` : (state ?? String(state));
    const rule = `state must be what init of the same optimizer made, { ${keys.join(", ")} }`;
    fail("state", fn, rule, got, "Call update(grads, state, params).");
  }
  expectTensors(fn, leavesOf("state", state));
}

function leavesOf(name: string, value: unknown): Leaves {
  return [name, new Map(tree.leavesWithPath(value).map(({ path, leaf }) => [path.join("/"), leaf]))];
}

const at = ([name]: Leaves, path: string): string => (path ? `${name}/${path}` : name);

function expectTensors(fn: string, leaves: Leaves): void {
  for (const [path, leaf] of leaves[1])
    if (!(leaf instanceof Tensor)) fail("state", fn, `${at(leaves, path)} must be a tensor`, leaf);
}

function expectSamePaths(fn: string, wanted: Leaves, found: Leaves): void {
  const rule = `${found[0]} must have the structure of ${wanted[0]}`;
  for (const path of wanted[1].keys())
    if (!found[1].has(path)) fail("state", fn, `${rule}, but there is no ${at(found, path)}`);
  for (const path of found[1].keys())
    if (!wanted[1].has(path)) fail("state", fn, `${rule}, but there is no ${at(wanted, path)}`);
}
