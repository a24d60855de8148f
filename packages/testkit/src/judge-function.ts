/** Any function of trees of tensors against the oracle: its value and all its gradients. */
import { type DType, jit, type Tensor, tree, vjp } from "@te/tensor";
import { type HostArray, isFloat } from "@te/tensor/op";
import { findDifference, findGradientDifference } from "./compare.js";
import { toTensor } from "./fill.js";
import { drawCotangents } from "./gradient.js";
import { oracle } from "./oracle.js";
import { forSize, type Limit } from "./tolerance.js";

export interface JudgeOptions {
  /** Limits by name: "y" for the value, paths such as "params/kernel" for gradients. */
  readonly limit: (name: string, dtype: DType) => Limit;
  readonly seed?: string;
}

export interface Judged {
  readonly y: Tensor;
  readonly dy: HostArray;
  readonly gradients: Readonly<Record<string, Tensor>>;
}

type Function = (tree: any) => Tensor;

/** y = f(inputs), its gradient for normal cotangents by path, and the same in float64 from the same rounded inputs. */
export function valueAndGradients(
  f: Function,
  inputs: unknown,
  seed = "function",
): Judged & { readonly exact: readonly HostArray[] } {
  const paths = tree.leavesWithPath(inputs).map(({ path }) => path.join("/"));
  const [leaves, definition] = tree.flatten(inputs) as [Tensor[], tree.TreeDef];
  const rebuild = (given: readonly Tensor[]): unknown => tree.unflatten(definition, given);
  const y = jit((...given: Tensor[]) => f(rebuild(given)))(...leaves);
  const [dy] = drawCotangents([{ shape: y.shape, dtype: y.dtype }], seed) as [HostArray];
  const run = (cotangent: Tensor, ...given: Tensor[]): Tensor[] => {
    const [value, pull] = vjp((...again: Tensor[]) => f(rebuild(again)), ...given);
    return [value, ...pull(cotangent)];
  };
  const host = (t: Tensor): HostArray => ({ shape: t.shape, dtype: t.dtype, data: t.dataSync() });
  const exact = oracle(run, [dy, ...leaves.map(host)]);
  const seedTensor = toTensor(dy);
  const [value, ...grads] = jit(run)(seedTensor, ...leaves);
  return { y: value!, dy, gradients: Object.fromEntries(paths.map((path, i) => [path, grads[i]!])), exact };
}

/** Throws unless y = f(inputs) and the gradient of every float leaf are within their limits of the oracle's. */
export function judgeFunction(f: Function, inputs: unknown, { limit, seed = "function" }: JudgeOptions): Judged {
  const { y, dy, gradients, exact } = valueAndGradients(f, inputs, seed);
  const limitOf = (name: string, t: Tensor): Limit => forSize(limit(name, t.dtype), t.size);
  const like = (t: Tensor, i: number): HostArray => ({ ...exact[i]!, dtype: t.dtype });
  throwIf("y", findDifference(y, like(y, 0), limitOf("y", y)));
  Object.entries(gradients).forEach(([name, t], i) => {
    if (isFloat(t.dtype)) throwIf(`gradient of ${name}`, findGradientDifference(t, like(t, i + 1), limitOf(name, t)));
  });
  return { y, dy, gradients };
}

function throwIf(what: string, found: string | undefined): void {
  if (found) throw new Error(`${what}: ${found}`);
}
