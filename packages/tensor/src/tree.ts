/** Trees: plain objects, arrays and null around leaves. Keys are visited in sorted order, as in JAX. */
import { fail } from "./errors.js";
import { expectArray, expectFunction } from "./expect.js";
import { Tensor } from "./tensor.js";
import { checkDepth } from "./tree-depth.js";

export type Tree<Leaf> = Leaf | null | undefined | readonly Tree<Leaf>[] | { readonly [key: string]: Tree<Leaf> };

/** A constraint, `T extends TensorTree<T>`: T is a tree whose leaves are all tensors, and stays the type that it is. */
export type TensorTree<T> = Tree<Tensor> | (object & { readonly [K in keyof T]: TensorBranch<T[K]> });

/** What stands below a name of a {@link TensorTree}. */
export type TensorBranch<T> =
  T extends Tree<Tensor> ? T : T extends object ? { readonly [K in keyof T]: TensorBranch<T[K]> } : Tensor;

/** Where the leaves of a flattened tree belong. */
export type TreeDef =
  | { readonly kind: "leaf" }
  | { readonly kind: "none"; readonly value: null | undefined }
  | { readonly kind: "list"; readonly items: readonly TreeDef[] }
  | { readonly kind: "record"; readonly keys: readonly string[]; readonly items: readonly TreeDef[] };

const LEAF: TreeDef = { kind: "leaf" };

/** Whether a value is a record: an object without a class, of this realm or another, such as that of a vm or an iframe. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return true;
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, "isPrototypeOf");
}

/** The list. Throws for one with holes: it may be longer than its entries, and take hours to read. */
function withoutHoles(list: readonly unknown[]): readonly unknown[] {
  for (let i = 0; i < list.length; i++)
    if (!(i in list)) fail("state", "tree", "a list must have no holes", `none at ${i}, of ${list.length}`);
  return list;
}

/** The leaves of a tree in order, and the shape of the tree around them. Anything but plain objects, arrays and null is a leaf. */
export function flatten(tree: unknown): [leaves: unknown[], definition: TreeDef] {
  const leaves: unknown[] = [];
  const visit = (node: unknown, depth: number): TreeDef => {
    if (node === null || node === undefined) return { kind: "none", value: node };
    checkDepth(depth);
    if (Array.isArray(node)) return { kind: "list", items: withoutHoles(node).map((item) => visit(item, depth + 1)) };
    if (!(node instanceof Tensor) && isPlainObject(node)) {
      const keys = Object.keys(node).sort();
      return { kind: "record", keys, items: keys.map((key) => visit(node[key], depth + 1)) };
    }
    leaves.push(node);
    return LEAF;
  };
  const definition = visit(tree, 0);
  return [leaves, definition];
}

/** Throws unless the value describes a tree, as flatten does. */
function checkTreeDef(fn: string, definition: TreeDef, depth = 0): void {
  checkDepth(depth);
  const { kind, items, keys } = (definition ?? {}) as { kind?: unknown; items?: unknown; keys?: unknown };
  if (kind === "leaf" || kind === "none") return;
  const listed = kind === "list" || (kind === "record" && Array.isArray(keys));
  if (!listed || !Array.isArray(items))
    fail("option", fn, "the definition must be one that tree.flatten gave", definition ?? String(definition));
  for (let i = 0; i < items.length; i++) checkTreeDef(fn, items[i], depth + 1);
}

/** Puts leaves back into the shape of a tree. */
export function unflatten(definition: TreeDef, leaves: readonly unknown[]): unknown {
  checkTreeDef("tree.unflatten", definition);
  expectArray("tree.unflatten", "leaves", { leaves });
  let next = 0;
  const build = (node: TreeDef): unknown => {
    switch (node.kind) {
      case "leaf":
        return leaves[next++];
      case "none":
        return node.value;
      case "list":
        return node.items.map(build);
      case "record": {
        const items = node.items.map(build);
        return Object.fromEntries(node.keys.map((key, i) => [key, items[i]]));
      }
    }
  };
  const tree = build(definition);
  if (next !== leaves.length) {
    fail("state", "tree.unflatten", `the tree has ${next} leaves`, `${leaves.length} leaves`);
  }
  return tree;
}

/** A string that is equal for trees of equal shape. */
export function formatTreeDef(definition: TreeDef): string {
  checkTreeDef("tree.formatTreeDef", definition);
  return format(definition);
}

function format(node: TreeDef): string {
  switch (node.kind) {
    case "leaf":
      return "*";
    case "none":
      return "-";
    case "list":
      return `[${node.items.map(format).join(",")}]`;
    case "record":
      return `{${node.keys.map((key, i) => `${JSON.stringify(key)}:${format(node.items[i]!)}`).join(",")}}`;
  }
}

/** A tree like T with an R in place of each leaf. */
export type MappedTree<T, R> = [Tree<Tensor>] extends [T]
  ? unknown extends T
    ? T
    : Tree<R>
  : T extends Tree<R>
    ? T
    : T extends Tensor | ArrayBufferView
      ? R
      : T extends object
        ? { [K in keyof T]: MappedTree<T[K], R> }
        : T extends null | undefined
          ? T
          : R;

/** A leaf of T: a tensor where all are. */
export type LeafOf<T> = T extends TensorTree<T> ? Tensor : any;

/** Applies f to the leaves of one tree, or to the leaves of several trees of one shape, side by side. */
export function map<T, R>(f: (leaf: LeafOf<T>, ...others: any[]) => R, tree: T, ...rest: unknown[]): MappedTree<T, R> {
  expectFunction("tree.map", { f });
  const [leaves, definition] = flatten(tree);
  const columns = rest.map((other, i) => {
    const [otherLeaves, otherDefinition] = flatten(other);
    if (formatTreeDef(otherDefinition) !== formatTreeDef(definition)) {
      fail(
        "state",
        "tree.map",
        `tree ${i + 2} must have the structure of the first, ${formatTreeDef(definition)}`,
        formatTreeDef(otherDefinition),
      );
    }
    return otherLeaves;
  });
  return unflatten(
    definition,
    leaves.map((leaf, i) => f(leaf as LeafOf<T>, ...columns.map((column) => column[i]))),
  ) as MappedTree<T, R>;
}

/** The leaves of a tree, in order. */
export const leaves = (tree: unknown): Tensor[] => flatten(tree)[0] as Tensor[];

/** The leaves with their paths, such as ["attention", "qkv", "kernel"]. */
export function leavesWithPath(tree: unknown): { path: string[]; leaf: Tensor }[] {
  const out: { path: string[]; leaf: Tensor }[] = [];
  const visit = (node: unknown, path: string[]): void => {
    if (node === null || node === undefined) return;
    checkDepth(path.length);
    if (Array.isArray(node)) withoutHoles(node).forEach((item, i) => visit(item, [...path, String(i)]));
    else if (!(node instanceof Tensor) && isPlainObject(node)) {
      for (const key of Object.keys(node).sort()) visit(node[key], [...path, key]);
    } else out.push({ path, leaf: node as Tensor });
  };
  visit(tree, []);
  return out;
}
