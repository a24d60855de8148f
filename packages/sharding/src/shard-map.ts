/** shardMap: functions of the parts that devices hold, with collectives written by hand. */
import { Tensor, tensor, tree, vjp, zeros } from "@te/tensor";
import { lower, type Program } from "@te/tensor/backend";
import {
  applyOp,
  currentTrace,
  defineOp,
  expectFunction,
  expectObject,
  fail,
  isFloat,
  type OpDefinition,
  wholeRule,
  withTrace,
} from "@te/tensor/op";
import { activeMesh, Mesh, withMesh } from "./mesh.js";
import { inBody } from "./ops/shard-exchange.js";
import { checkDivides } from "./partition/constraint-dims.js";
import { countAlong } from "./partition/layout.js";
import { holdBody } from "./partition/shard-body.js";
import { NamedSharding, PartitionSpec } from "./partition-spec.js";
import { psum, withMappedAxes } from "./shard-collectives.js";

/** One spec for all tensors of a tree, or a list or an object of such for its parts. */
export type Specs = PartitionSpec | readonly Specs[] | { readonly [name: string]: Specs };

/** Options of {@link shardMap}. */
export interface ShardMapOptions {
  readonly mesh: Mesh;
  /** How the arguments are split: for the list of them. */
  readonly inSpecs: Specs;
  /** How parts of results make up the whole. */
  readonly outSpecs: Specs;
}

/** For each dimension the axes that split it, without those of one device. */
type Dims = readonly (readonly string[])[];

/** A function of lists of tensors. */
type Flat = (parts: readonly Tensor[]) => readonly Tensor[];

/**
 * A function of whole tensors that calls f with the parts that `inSpecs` name, on every device of the mesh, and puts
 * together what it returns as `outSpecs` say. f exchanges by psum, allGather and so on. Of results that are whole along an
 * axis all devices along it must hold the same, which is not checked. What f closes over is whole on all devices; what is
 * traced outside of f must be an argument. The mesh must be the active one, or none inside of no trace. Differentiable.
 * Throws where specs do not fit the trees, and where a dimension does not divide.
 */
export function shardMap<A extends readonly any[], R>(
  f: (...args: A) => R,
  options: ShardMapOptions,
): (...args: A) => R {
  expectFunction("shardMap", { f });
  expectObject("shardMap", { options });
  const { mesh, inSpecs, outSpecs } = options;
  if (!(mesh instanceof Mesh)) fail("option", "shardMap", "mesh must be a Mesh", mesh ?? String(mesh));
  const ops = new Map<string, OpDefinition>();
  return (...args) => {
    const given = tree.map((leaf: unknown) => (typeof leaf === "number" ? tensor(leaf) : leaf), args) as unknown;
    const [leaves, definition] = tree.flatten(given);
    const xs = leaves.map((x) =>
      x instanceof Tensor ? x : fail("dtype", "shardMap", "arguments must be trees of tensors", x),
    );
    const inDims = specsOf("inSpecs", given, inSpecs).map((spec, i) => dimsOf(mesh, "inSpecs", spec, xs[i]!.rank));
    let results: [definition: unknown, outDims: readonly Dims[]] | undefined;
    const flat: Flat = (parts) => {
      const returned = f(...(tree.unflatten(definition, parts) as A));
      const [values, made] = tree.flatten(returned);
      const tensors = values.map((y) =>
        y instanceof Tensor ? y : fail("dtype", "shardMap", "f must return a tree of tensors", y),
      );
      const specs = specsOf("outSpecs", returned, outSpecs);
      results = [made, specs.map((spec, i) => dimsOf(mesh, "outSpecs", spec, tensors[i]!.rank))];
      return tensors;
    };
    const run = () => mapParts(mesh, ops, flat, xs, inDims, () => results![1]);
    const ys = within(mesh, run);
    return tree.unflatten(results![0] as never, ys) as R;
  };
}

function within<R>(mesh: Mesh, run: () => R): R {
  const active = activeMesh();
  if (active?.toString() === mesh.toString()) return run();
  if (active || (currentTrace() && mesh.size > 1))
    fail("state", "shardMap", `its mesh must be the active one, ${mesh}`, active ?? "none", "Enter it with withMesh.");
  return withMesh(mesh, run);
}

/** One spec for each leaf of a tree. */
function specsOf(what: string, value: unknown, specs: Specs): PartitionSpec[] {
  if (specs instanceof PartitionSpec) return tree.flatten(value)[0].map(() => specs);
  if (typeof specs !== "object" || specs === null)
    return fail("option", "shardMap", `${what} must be a PartitionSpec, or a tree of them`, specs ?? String(specs));
  const parts = value instanceof Tensor || typeof value !== "object" || value === null ? undefined : value;
  const names = (of: object): string => Object.keys(of).sort().join(",");
  if (!parts || Array.isArray(parts) !== Array.isArray(specs) || names(parts) !== names(specs))
    return fail(
      "option",
      "shardMap",
      `${what} must have the structure of what it is for`,
      parts ? `${names(specs)} for ${names(parts)}` : "a tree for a tensor",
    );
  const keys = Array.isArray(parts) ? Object.keys(parts) : Object.keys(parts).sort();
  return keys.flatMap((key) =>
    specsOf(`${what}.${key}`, (parts as Record<string, unknown>)[key], (specs as Record<string, Specs>)[key]!),
  );
}

function dimsOf(mesh: Mesh, what: string, spec: PartitionSpec, rank: number): Dims {
  new NamedSharding(mesh, spec);
  if (spec.entries.length > rank)
    fail("shape", "shardMap", `${spec} of ${what} describes ${spec.entries.length} dimensions`, `rank ${rank}`);
  return Array.from({ length: rank }, (_, i) => [spec.entries[i] ?? []].flat().filter((axis) => mesh.shape[axis]! > 1));
}

/** The results of f on all devices, as whole values. `outDims` is asked after f was traced. */
function mapParts(
  mesh: Mesh,
  ops: Map<string, OpDefinition>,
  f: Flat,
  xs: readonly Tensor[],
  inDims: readonly Dims[],
  outDims: () => readonly Dims[],
): readonly Tensor[] {
  xs.forEach((x, i) => checkDivides(mesh, "shardMap", x, inDims[i]!));
  const body: Flat = (parts) => withMappedAxes(mesh, () => inBody(() => f(parts)));
  if (mesh.size === 1) return body(xs);
  const program = withTrace((trace) => {
    const parts = xs.map((x, i) => trace.input({ shape: partOf(mesh, x.shape, inDims[i]!), dtype: x.dtype }));
    return lower(trace, parts, body(parts));
  });
  const outs = outDims();
  const key = JSON.stringify([String(program), inDims, outs]);
  const op = ops.get(key) ?? makeOp(mesh, f, program, inDims, outs);
  ops.set(key, op);
  return applyOp(op, [...xs, ...program.constants.map(({ tensor }) => tensor)]);
}

const partOf = (mesh: Mesh, shape: readonly number[], dims: Dims): number[] =>
  shape.map((length, i) => length / countAlong(mesh, dims[i]!));

/** The op that runs a body: its first inputs are those of f, the others what f closes over. */
function makeOp(
  mesh: Mesh,
  f: Flat,
  program: Program,
  inDims: readonly Dims[],
  outDims: readonly Dims[],
): OpDefinition {
  const wholes = program.outputs.map((id, i) => {
    const { shape, dtype } = program.values[id]!;
    return { shape: shape.map((length, dim) => length * countAlong(mesh, outDims[i]![dim]!)), dtype };
  });
  const names = wholes.map((_, i) => String(i));
  const constants = program.constants.map(({ tensor }): Dims => tensor.shape.map(() => []));
  const { definition } = defineOp<string, string, object>("shard_map", {
    inputs: [],
    variadic: true,
    outputs: names,
    params: {},
    shape: () => Object.fromEntries(wholes.map((of, i) => [names[i]!, of])),
    sharding: wholeRule,
    evaluate: () =>
      fail("state", "shardMap", `${mesh} must be the active mesh where its result is computed`, "another device"),
    vjp: ({ inputs, grads }) => pulledBack(mesh, f, inDims, outDims, wholes, inputs, grads),
  });
  holdBody(definition, { mesh, program, inputs: [...inDims, ...constants], outputs: outDims });
  return definition;
}

/**
 * The cotangents of the inputs, by a body of their own. A result that is whole along axes counts once, not once per device
 * along them; a part that devices along axes share has the sum of their cotangents.
 */
function pulledBack(
  mesh: Mesh,
  f: Flat,
  inDims: readonly Dims[],
  outDims: readonly Dims[],
  wholes: readonly { readonly shape: readonly number[]; readonly dtype: Tensor["dtype"] }[],
  inputs: Readonly<Record<string, Tensor | undefined>>,
  grads: Readonly<Record<string, Tensor | undefined>>,
): Record<string, Tensor> {
  const xs = inDims.map((_, i) => inputs[i]!);
  const gs = wholes.map((of, i) => grads[i] ?? zeros(of.shape, { dtype: of.dtype }));
  const floats = xs.flatMap((x, i) => (isFloat(x.dtype) ? [i] : []));
  const absent = (dims: Dims): string[] =>
    mesh.axisNames.filter((axis) => mesh.shape[axis]! > 1 && !dims.flat().includes(axis));
  const pull: Flat = (parts) => {
    const given = parts.slice(0, xs.length);
    const part = (chosen: readonly Tensor[]) =>
      given.map((x, i) => (floats.includes(i) ? chosen[floats.indexOf(i)]! : x));
    const [, pullback] = vjp((...chosen: Tensor[]) => [...f(part(chosen))], ...floats.map((i) => given[i]!));
    const seeds = parts.slice(xs.length).map((g, i) => {
      const count = countAlong(mesh, absent(outDims[i]!));
      return count === 1 || !isFloat(g.dtype) ? g : g.div(count);
    });
    return (pullback(seeds) as Tensor[]).map((g, k) => {
      const axes = absent(inDims[floats[k]!]!);
      return axes.length === 0 ? g : psum(g, axes);
    });
  };
  const dims = floats.map((i) => inDims[i]!);
  const found = mapParts(mesh, new Map(), pull, [...xs, ...gs], [...inDims, ...outDims], () => dims);
  return Object.fromEntries(floats.map((i, k) => [String(i), found[k]!]));
}
