/** How the tensors of a saved tree are to lie: shardings by their names. */
import { NamedSharding } from "@te/sharding";
import { type Shardings, TeError } from "@te/tensor";
import { fail } from "@te/tensor/op";
import { childrenOf, formatPath, kindOf, nameOfPath, type StateNode, tensorPaths } from "./state-node.js";

/** The shardings by the name of the tensor: a sharding stands for all tensors below it, null and what is left out for none. */
export function shardingsOf(where: string, root: StateNode, shardings: Shardings): Map<string, NamedSharding> {
  const found = new Map<string, NamedSharding>();
  const visit = (node: StateNode, given: Shardings, path: readonly string[]): void => {
    if (given === null || given === undefined) return;
    if (given instanceof NamedSharding) {
      for (const at of tensorPaths(node, path)) found.set(nameOfPath(at), given);
      return;
    }
    const children = childrenOf(node);
    if (typeof given !== "object" || kindOf(node) !== (Array.isArray(given) ? "list" : "record"))
      fail("option", where, `shardings must be those of the state: ${formatPath(path)} is a ${kindOf(node)}`, given);
    for (const [key, value] of Object.entries(given)) {
      const child = children.get(key);
      if (!child) fail("option", where, `shardings name ${formatPath([...path, key])}, which is not in the file`);
      visit(child, value as Shardings, [...path, key]);
    }
  };
  visit(root, shardings, []);
  return found;
}

/** Throws TeError with code "shape" unless a tensor can lie so. */
export function checkSharding(
  where: string,
  path: readonly string[],
  shape: readonly number[],
  sharding: NamedSharding | undefined,
): void {
  try {
    sharding?.shardShape(shape);
  } catch (error) {
    const { code, message } = error as TeError;
    throw new TeError(code, `${where}: ${formatPath(path)}: ${message}`, { cause: error });
  }
}
