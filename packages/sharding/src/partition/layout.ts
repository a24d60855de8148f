/** How a value lies over the devices of a mesh, and which part of it each device holds. */
import type { Reduction } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";

/** Axes have more than one device each; those of one split nothing and are left out. */
export interface Layout {
  /** For each dimension the mesh axes that split it, outermost first. */
  readonly dims: readonly (readonly string[])[];
  /** Axes along which devices hold partial results that are still to be combined, and how. */
  readonly partial: Readonly<Record<string, Reduction>>;
}

export const wholeLayout = (rank: number): Layout => ({ dims: Array.from({ length: rank }, () => []), partial: {} });

/** "[data,-,x y] sum over tensor": equal for equal layouts only. */
export function formatLayout({ dims, partial }: Layout): string {
  const waiting = Object.keys(partial)
    .sort()
    .map((axis) => ` ${partial[axis]} over ${axis}`);
  return `[${dims.map((axes) => axes.join(" ") || "-").join(",")}]${waiting.join("")}`;
}

export const sameLayout = (a: Layout, b: Layout): boolean => formatLayout(a) === formatLayout(b);

/** Whether every device holds all of it. */
export const isWhole = ({ dims, partial }: Layout): boolean =>
  dims.every((axes) => axes.length === 0) && Object.keys(partial).length === 0;

/** How many devices lie along some axes together. */
export const countAlong = (mesh: Mesh, axes: readonly string[]): number =>
  axes.reduce((n, axis) => n * mesh.shape[axis]!, 1);

/** The shape of the part that a device holds. Every dimension divides. */
export const partShape = (mesh: Mesh, { dims }: Layout, shape: readonly number[]): number[] =>
  shape.map((length, i) => length / countAlong(mesh, dims[i]!));

/** From where to where a part goes along each dimension of the whole. */
export type Index = readonly (readonly [start: number, end: number])[];

/** Where the part of a device is. Every dimension divides. */
export const partIndex = (mesh: Mesh, layout: Layout, device: number, shape: readonly number[]): Index =>
  partShape(mesh, layout, shape).map((length, i) => {
    const start = placeAlong(mesh, device, layout.dims[i]!) * length;
    return [start, start + length];
  });

/** The place of a device along some axes, the first outermost. */
export const placeAlong = (mesh: Mesh, device: number, axes: readonly string[]): number =>
  axes.reduce((place, axis) => place * mesh.shape[axis]! + mesh.placeOf(device, axis), 0);

/** The devices that differ from one along the given axes alone, in the order of their places there. */
export function groupAlong(mesh: Mesh, device: number, axes: readonly string[]): number[] {
  const count = countAlong(mesh, axes);
  const first = axes.reduce((at, axis) => at - mesh.placeOf(device, axis) * mesh.strideOf(axis), device);
  return Array.from({ length: count }, (_, k) => {
    let [rest, at] = [k, first];
    for (const axis of [...axes].reverse()) {
      at += (rest % mesh.shape[axis]!) * mesh.strideOf(axis);
      rest = Math.floor(rest / mesh.shape[axis]!);
    }
    return at;
  });
}

/** Which of the distinct parts of a value a device holds: they are numbered in row-major order of the dimensions. */
export const partOf = (mesh: Mesh, { dims }: Layout, device: number): number => placeAlong(mesh, device, dims.flat());

/** The distinct parts that some devices hold, in order, each with the first of the devices that holds it. */
export function partsOn(mesh: Mesh, layout: Layout, devices: readonly number[]): { part: number; device: number }[] {
  const holders = new Map<number, number>();
  for (const device of devices) {
    const part = partOf(mesh, layout, device);
    if (!holders.has(part)) holders.set(part, device);
  }
  return [...holders].map(([part, device]) => ({ part, device })).sort((a, b) => a.part - b.part);
}
