/**
 * Partitioned programs against whole ones: every case of every op, its inputs split over a mesh in drawn ways, gives the
 * same results and gradients. Both are computed in float64, so that only the order of sums tells them apart.
 */
import { Mesh, shardingConstraintOp } from "@te/sharding";
import {
  devicesOf,
  emit,
  exchangeInProgram,
  formatLayout,
  type Layout,
  type PartitionedProgram,
  partition,
  partShape,
  partsOn,
} from "@te/sharding/partition";
import { makeProgram, type Tensor } from "@te/tensor";
import type { Program } from "@te/tensor/backend";
import {
  allocate,
  type Case,
  CaseBuilder,
  type HostArray,
  type OpDefinition,
  sizeOf,
  stridedCopy,
  stridesOf,
} from "@te/tensor/op";
import { describe, expect, test } from "vitest";
import { type BackendSuiteOptions, judgedOps } from "./backend-suite.js";
import { findCodeDifference, findDifference, isExact } from "./compare.js";
import { fillCase, generator, seedOf, toTensor } from "./fill.js";
import { drawCotangents, gradientOfCase, orderedNames, outputAvals } from "./gradient.js";
import { callOp, findOp, runProgram } from "./oracle.js";
import { forSize, limitOf, widen } from "./tolerance.js";

const MESHES = [new Mesh({ a: 2 }), new Mesh({ a: 2, b: 3 }), new Mesh({ a: 3, b: 2, c: 2 })];

/** Larger cases are there for the kernels. */
const MOST_ELEMENTS = 2 ** 14;

/** A layout in which every dimension divides: each axis of the mesh splits one or none. */
export function drawLayout(mesh: Mesh, shape: readonly number[], uniform: () => number): Layout {
  const dims: string[][] = shape.map(() => []);
  const left = [...shape];
  for (const axis of mesh.axisNames) {
    const fitting = left.flatMap((length, dim) => (length > 0 && length % mesh.shape[axis]! === 0 ? [dim] : []));
    const dim = fitting[Math.floor(uniform() * (fitting.length + 0.5))];
    if (dim === undefined) continue;
    dims[dim]!.push(axis);
    left[dim]! /= mesh.shape[axis]!;
  }
  return { dims, partial: {} };
}

/** Copies between a whole and one of its parts: `into` the part, or back. */
function copyPart(whole: HostArray, part: HostArray, number: number, back: boolean): void {
  let [rest, offset] = [number, 0];
  for (let dim = whole.shape.length - 1; dim >= 0; dim--) {
    const count = whole.shape[dim]! / (part.shape[dim]! || 1) || 1;
    offset += (rest % count) * part.shape[dim]! * stridesOf(whole.shape)[dim]!;
    rest = Math.floor(rest / count);
  }
  const [w, p] = [stridesOf(whole.shape), stridesOf(part.shape)];
  if (sizeOf(part.shape) === 0) return;
  if (back) stridedCopy(part.shape, part.data, p, 0, whole.data, w, offset);
  else stridedCopy(part.shape, whole.data, w, offset, part.data, p, 0);
}

/** Runs a partitioned program on the reference evaluator: whole inputs in, whole results out. */
export function runPartitioned(
  partitioned: PartitionedProgram,
  inputs: readonly HostArray[],
  options: { readonly wide: boolean },
): HostArray[] {
  const { mesh, values } = partitioned;
  const devices = devicesOf(mesh);
  const parts = partitioned.inputs.flatMap((id, i) => {
    const { aval, layout } = values[id]!;
    const shape = partShape(mesh, layout, aval.shape);
    return partsOn(mesh, layout, devices).map(({ part }) => {
      const array: HostArray = { shape, dtype: aval.dtype, data: allocate(aval.dtype, sizeOf(shape)) };
      copyPart(inputs[i]!, array, part, false);
      return array;
    });
  });
  const results = runProgram(emit(partitioned, devices, exchangeInProgram), parts, options);
  let next = 0;
  return partitioned.outputs.map((id) => {
    const { aval, layout } = values[id]!;
    const held = partsOn(mesh, layout, devices);
    const first = results[next]!;
    const data =
      first.data instanceof Float64Array
        ? new Float64Array(sizeOf(aval.shape))
        : allocate(aval.dtype, sizeOf(aval.shape));
    const whole: HostArray = { ...aval, data };
    for (const { part } of held) copyPart(whole, results[next++]!, part, true);
    return whole;
  });
}

/** A function of tensors with concrete arguments, and which of its results are exact. */
export interface SplitSubject {
  readonly f: (...args: Tensor[]) => readonly Tensor[];
  readonly given: readonly HostArray[];
  readonly names: readonly string[];
  readonly exact: readonly boolean[];
}

/** Says how a partitioned program differs from the whole one, or nothing. */
export function findSplitError(
  { f, given, names, exact }: SplitSubject,
  mesh: Mesh,
  uniform: () => number,
): string | undefined {
  const program: Program = makeProgram(f)(...given.map(toTensor));
  const constants = program.constants.map(
    ({ tensor }): HostArray => ({
      shape: tensor.shape,
      dtype: tensor.dtype,
      data: tensor.dataSync(),
    }),
  );
  const layouts = [...given, ...constants].map(({ shape }) => drawLayout(mesh, shape, uniform));
  const partitioned = partition(mesh, program, layouts);
  for (const wide of [true, false]) {
    if (!exact.some((isExact) => isExact !== wide)) continue;
    const whole = runProgram(program, given, { wide });
    const split = runPartitioned(partitioned, [...given, ...constants], { wide });
    for (const [i, name] of names.entries()) {
      if (exact[i] === wide) continue;
      const limit = forSize(widen(limitOf("op", "float32"), 2), whole[i]!.data.length);
      const found = exact[i] ? findCodeDifference(split[i]!, whole[i]!) : findDifference(split[i]!, whole[i]!, limit);
      if (found) return `${mesh}, inputs ${layouts.map(formatLayout).join(" ")}: ${name}: ${found}\n${partitioned}`;
    }
  }
  return undefined;
}

/** Says how the op differs from itself when it is split over a mesh in drawn ways, or nothing. */
export function findPartitionError(op: OpDefinition, of: Case, seed: string): string | undefined {
  const uniform = generator(seedOf(`${op.name}/${of.name}/${seed}`));
  const byName = fillCase(op.name, of);
  const names = orderedNames(op, of);
  const given = names.map((name) => byName[name]!);
  const avals = outputAvals(op, of);
  const forward: SplitSubject = {
    f: (...xs) => callOp(op, Object.fromEntries(names.map((name, i) => [name, xs[i]!])), of.params),
    given,
    names: op.outputs,
    exact: avals.map(({ dtype }) => isExact(dtype) || op.moves !== undefined),
  };
  const mesh = MESHES[Math.floor(uniform() * MESHES.length)]!;
  const found = findSplitError(forward, mesh, uniform);
  if (found) return found;
  const gradient = gradientOfCase(op, of);
  if (!gradient) return undefined;
  const pull: SplitSubject = {
    f: gradient.pull,
    given: [...drawCotangents(gradient.avals, `${op.name}/${of.name}`), ...given],
    names: gradient.wrt.map((name) => `gradient of ${name}`),
    exact: gradient.wrt.map(() => false),
  };
  return findSplitError(pull, mesh, uniform);
}

/** Declares one test for every op: its small cases, each split in `rounds` drawn ways, give what they give whole. */
export function testPartitioned({
  ops = judgedOps().filter((name) => name !== shardingConstraintOp.definition.name), // whose cases are for meshes of their own
  rounds = 2,
}: Pick<BackendSuiteOptions, "ops"> & { readonly rounds?: number } = {}): void {
  describe("partitioned ops", () => {
    test.each(ops.map((name) => [name]))("%s", (name) => {
      const op = findOp(name);
      for (const of of op.cases?.(new CaseBuilder()) ?? []) {
        const isSmall = [...Object.values(of.inputs), ...outputAvals(op, of)].every(
          ({ shape }) => sizeOf(shape) <= MOST_ELEMENTS,
        );
        if (of.bench || !isSmall) continue;
        for (let round = 0; round < rounds; round++) {
          const found = findPartitionError(op, of, String(round));
          if (found) expect.fail(`${of.name}: ${found}`);
        }
      }
    });
  });
}
