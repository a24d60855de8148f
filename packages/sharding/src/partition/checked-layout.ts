/** Functions of layouts for other packages: they check what they are given, which the loops of the partitioner do not. */
import type { Mesh } from "../mesh.js";
import { expectAxes, expectDevices, expectLayout, expectLayoutFor, expectLayoutOn, expectMesh } from "./check.js";
import type { Layout } from "./layout.js";
import * as layouts from "./layout.js";

/** How many devices lie along some axes of a mesh together. Throws unless they are axes of it, each once. */
export function countAlong(mesh: Mesh, axes: readonly string[]): number {
  expectMesh("countAlong", mesh);
  expectAxes("countAlong", mesh, "axes", axes);
  return layouts.countAlong(mesh, axes);
}

/** "[data,-,x y] sum over tensor": equal for equal layouts only. */
export function formatLayout(layout: Layout): string {
  expectLayout("formatLayout", layout);
  return layouts.formatLayout(layout);
}

/** The shape of the part that each device holds of a value of some shape. Throws unless every dimension divides. */
export function partShape(mesh: Mesh, layout: Layout, shape: readonly number[]): number[] {
  expectMesh("partShape", mesh);
  expectLayoutFor("partShape", mesh, layout, shape);
  return layouts.partShape(mesh, layout, shape);
}

/**
 * The distinct parts of a value that some devices hold, in order, each with the first of the devices that holds it. Parts are
 * numbered in row-major order of the dimensions.
 */
export function partsOn(mesh: Mesh, layout: Layout, devices: readonly number[]): { part: number; device: number }[] {
  expectMesh("partsOn", mesh);
  expectLayoutOn("partsOn", mesh, layout);
  expectDevices("partsOn", mesh, devices);
  return layouts.partsOn(mesh, layout, devices);
}
