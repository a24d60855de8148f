/** Where arguments and results of jit lie over a mesh: shardings for trees of tensors. */
import { fail } from "../errors.js";
import { Tensor } from "../tensor.js";
import { isPlainObject } from "../tree.js";

/** How a tensor lies over the devices of a mesh; NamedSharding of @te/sharding is one. */
export interface Sharding {
  /** x as it lies under the sharding: moved there, or in a traced function asked to be. */
  place(x: Tensor): Tensor;
}

/**
 * Shardings of a tree of tensors: one for all of it, null for what stays as it is, or a list or an object of such for its
 * parts. Parts that it does not name stay as they are.
 */
export type Shardings = Sharding | null | undefined | readonly Shardings[] | { readonly [name: string]: Shardings };

const isSharding = (value: Shardings): value is Sharding =>
  typeof value === "object" && value !== null && typeof (value as Partial<Sharding>).place === "function";

/** The tree with every tensor placed as its sharding says. `what` names the option in errors. */
export function placeTree(what: string, tree: unknown, shardings: Shardings): unknown {
  if (shardings === null || shardings === undefined) return tree;
  if (isSharding(shardings)) return placeAll(tree, shardings);
  if (typeof shardings !== "object")
    return fail("option", "jit", `${what} must hold shardings, null, and lists and objects of them`, shardings);
  if (Array.isArray(shardings)) {
    if (!Array.isArray(tree) || shardings.length > tree.length)
      return fail("option", "jit", `${what} has ${shardings.length} items for what has not as many`, describe(tree));
    return tree.map((item, i) => placeTree(`${what}[${i}]`, item, shardings[i]));
  }
  if (!isPlainObject(tree)) return fail("option", "jit", `${what} names parts of what has none`, describe(tree));
  const named = shardings as { readonly [name: string]: Shardings };
  const unknown = Object.keys(named).find((name) => !Object.hasOwn(tree, name));
  if (unknown !== undefined)
    return fail(
      "option",
      "jit",
      `${what} names ${unknown}, which is not there`,
      `Parts: ${Object.keys(tree).join(", ")}`,
    );
  return Object.fromEntries(
    Object.entries(tree).map(([name, item]) => [name, placeTree(`${what}.${name}`, item, named[name])]),
  );
}

function placeAll(tree: unknown, sharding: Sharding): unknown {
  if (tree instanceof Tensor) return sharding.place(tree);
  if (Array.isArray(tree)) return tree.map((item) => placeAll(item, sharding));
  if (!isPlainObject(tree)) return tree;
  return Object.fromEntries(Object.entries(tree).map(([name, item]) => [name, placeAll(item, sharding)]));
}

const describe = (tree: unknown): string =>
  tree instanceof Tensor ? "a tensor" : Array.isArray(tree) ? `a list of ${tree.length}` : String(tree);
