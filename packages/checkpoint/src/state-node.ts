/** The structure of a state tree as JSON, beside the tensors themselves. */
import { TeError, Tensor } from "@te/tensor";
import { fail } from "@te/tensor/op";
import { failFile } from "./safetensors/format.js";

const DEEPEST = 200;

/**
 * Where the leaves of a saved tree belong. Records are lists of pairs, so that any key is as good as another; numbers are
 * text, so that -0, NaN and the infinities survive.
 */
export type StateNode =
  | "tensor"
  | "null"
  | "undefined"
  | readonly ["number" | "string", string]
  | readonly ["boolean", boolean]
  | readonly ["list", readonly StateNode[]]
  | readonly ["record", readonly (readonly [string, StateNode])[]];

/** A tensor of the tree and the keys that lead to it. */
export interface StateLeaf {
  readonly path: readonly string[];
  readonly tensor: Tensor;
}

/**
 * The name of a tensor in the file: keys joined by "/". As in JSON pointers "~1" stands for a slash in a key and "~0"
 * for a tilde; "~2" stands for the first underscore of a name that the format reserves.
 */
export function nameOfPath(path: readonly string[]): string {
  const name = path.map((key) => key.replaceAll("~", "~0").replaceAll("/", "~1")).join("/");
  return name === "__metadata__" || name === "__proto__" ? `~2${name.slice(1)}` : name;
}

/** A path for messages: `params/dense/kernel`, or `the root`. */
export const formatPath = (path: readonly string[]): string => (path.length ? path.join("/") : "the root");

/** Splits a tree into its structure and its tensors. */
export function describeState(where: string, state: unknown): { root: StateNode; leaves: StateLeaf[] } {
  const leaves: StateLeaf[] = [];
  const visit = (value: unknown, path: readonly string[]): StateNode => {
    if (path.length > DEEPEST)
      throw new TeError("state", `${where}: a state may be nested ${DEEPEST} deep. Is there a cycle in it?`);
    if (value === null) return "null";
    if (value === undefined) return "undefined";
    if (typeof value === "number") return ["number", Object.is(value, -0) ? "-0" : String(value)];
    if (typeof value === "string") return ["string", value];
    if (typeof value === "boolean") return ["boolean", value];
    if (value instanceof Tensor) {
      leaves.push({ path, tensor: value });
      return "tensor";
    }
    if (Array.isArray(value)) checkHoles(where, value, path);
    if (Array.isArray(value)) return ["list", Array.from(value, (item, i) => visit(item, [...path, String(i)]))];
    if (isPlainObject(value)) {
      return ["record", Object.entries(value).map(([key, item]) => [key, visit(item, [...path, key])] as const)];
    }
    const got = typeof value === "object" ? (value.constructor?.name ?? "an object") : typeof value;
    const rule = `${where}: a state holds tensors, numbers, strings, booleans, null, lists and plain objects`;
    throw new TeError("state", `${rule}, got ${got} at ${formatPath(path)}. Convert it to one of them.`);
  };
  return { root: visit(state, []), leaves };
}

/** Throws for a list with holes: it may be longer than its entries, and take hours to read. */
function checkHoles(where: string, list: readonly unknown[], path: readonly string[]): void {
  for (let i = 0; i < list.length; i++)
    if (!(i in list)) fail("state", where, `the list at ${formatPath(path)} must have no holes`, list, "Fill them.");
}

/** Records of another realm have another prototype, which like ours has none. */
function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || (Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, "isPrototypeOf"));
}

/** Puts tensors back into the structure; `tensorAt` is called once for every tensor of the tree, in order. */
export function rebuild(
  node: StateNode,
  tensorAt: (path: readonly string[]) => Tensor | undefined,
  path: readonly string[] = [],
): unknown {
  if (node === "tensor") return tensorAt(path);
  if (node === "null") return null;
  if (node === "undefined") return undefined;
  switch (node[0]) {
    case "number":
      return Number(node[1]);
    case "string":
    case "boolean":
      return node[1];
    case "list":
      return node[1].map((item, i) => rebuild(item, tensorAt, [...path, String(i)]));
    case "record":
      return Object.fromEntries(node[1].map(([key, item]) => [key, rebuild(item, tensorAt, [...path, key])]));
  }
}

/** The paths of the tensors below a node, in order. */
export function tensorPaths(node: StateNode, path: readonly string[] = []): (readonly string[])[] {
  const paths: (readonly string[])[] = [];
  rebuild(node, (at) => void paths.push(at), path);
  return paths;
}

/** The items of a list by index, or of a record by key. */
export function childrenOf(node: StateNode): ReadonlyMap<string, StateNode> {
  if (typeof node === "string") return new Map();
  if (node[0] === "list") return new Map(node[1].map((item, i) => [String(i), item]));
  return node[0] === "record" ? new Map(node[1]) : new Map();
}

const NUMBER = /^(-?\d+(\.\d+)?(e[+-]\d+)?|-?Infinity|NaN)$/;

/** Checks that untrusted JSON is a structure. Throws TeError with code "file". */
export function parseStateNode(where: string, value: unknown, depth = 0): StateNode {
  if (depth > DEEPEST) failFile(where, `the tree in the metadata may be nested ${DEEPEST} deep`);
  if (value === "tensor" || value === "null" || value === "undefined") return value;
  const [kind, content] = Array.isArray(value) && value.length === 2 ? value : [];
  if (kind === "number" && typeof content === "string" && NUMBER.test(content)) return [kind, content];
  if (kind === "string" && typeof content === "string") return [kind, content];
  if (kind === "boolean" && typeof content === "boolean") return [kind, content];
  if (kind === "list" && Array.isArray(content))
    return [kind, content.map((item) => parseStateNode(where, item, depth + 1))];
  if (kind === "record" && Array.isArray(content)) {
    const pairs = content.map((pair) => parsePair(where, pair, depth + 1));
    const seen = new Set<string>();
    for (const [key] of pairs) {
      if (seen.has(key)) failFile(where, "every key of a record of the tree in the metadata must occur once", key);
      seen.add(key);
    }
    return [kind, pairs];
  }
  return failStructure(where, value);
}

function parsePair(where: string, pair: unknown, depth: number): readonly [string, StateNode] {
  if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[0] !== "string") failStructure(where, pair);
  return [pair[0], parseStateNode(where, pair[1], depth)];
}

function failStructure(where: string, value: unknown): never {
  return failFile(where, "the tree in the metadata must describe a state", value);
}

/** What a node is, for messages. */
export const kindOf = (node: StateNode): string => (typeof node === "string" ? node : node[0]);
