/** Tensors that have a shape and a dtype and hold nothing: arguments of what is planned. */
import { type DType, Tensor, type Tree, tree } from "@te/tensor";
import { type Aval, checkDType, checkShape, fail, withTrace } from "@te/tensor/op";

/** A tensor without data: functions can be traced with it, nothing can be computed from it. */
export function abstractTensor(shape: readonly number[], dtype: DType = "float32"): Tensor {
  checkShape("abstractTensor", shape);
  checkDType("abstractTensor", dtype);
  return withTrace((trace) => trace.input({ shape, dtype }));
}

const isAval = (node: unknown): node is Aval =>
  typeof node === "object" && node !== null && !(node instanceof Tensor) && "shape" in node && "dtype" in node;

/** A tree of abstract tensors in place of the shapes and dtypes that evalShape gives, or of tensors. */
export function abstractTree(of: unknown): Tree<Tensor> {
  if (of instanceof Tensor || isAval(of)) return abstractTensor(of.shape, of.dtype);
  if (Array.isArray(of)) {
    // Before map, which would look for what is not there.
    const hole = of.findIndex((_, i) => !(i in of));
    if (hole >= 0) fail("option", "abstractTree", "a list must have no holes", `none at ${hole}, of ${of.length}`);
    return of.map(abstractTree);
  }
  if (of === null || of === undefined) return of;
  if (typeof of !== "object") fail("option", "abstractTree", "leaves must be tensors or shapes with dtypes", of);
  return Object.fromEntries(Object.entries(of).map(([name, node]) => [name, abstractTree(node)]));
}

/** The tensors of arguments in order, each with its place: "0.params.kernel". */
export const leavesOf = (args: readonly unknown[]): { readonly path: string; readonly leaf: Tensor }[] =>
  tree.leavesWithPath(args).map(({ path, leaf }) => ({ path: path.join("."), leaf }));
