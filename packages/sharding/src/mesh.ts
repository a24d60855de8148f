/** Meshes of devices with named axes, and the one that is active. */
import { createScope, expectObject, expectString, fail } from "@te/tensor/op";

/**
 * Devices in an array with named axes: `new Mesh({ data: 2, tensor: 4 })` has eight, numbered in row-major order. The
 * devices are virtual: a mesh tells which axes exist and how large they are.
 */
export class Mesh {
  readonly axisNames: readonly string[];
  /** Size by axis name. */
  readonly shape: Readonly<Record<string, number>>;
  /** Number of devices. */
  readonly size: number;
  private readonly strides: Readonly<Record<string, number>>;

  /** Throws unless there is at least one axis, every size is a positive integer, and names are not empty or numbers. */
  constructor(shape: Readonly<Record<string, number>>) {
    expectObject("Mesh", { "the sizes by axis name": shape });
    const entries = Object.entries(shape);
    if (entries.length === 0) fail("option", "Mesh", "at least one axis is needed", "{}", "Pass { data: 1 }.");
    for (const [name, size] of entries) {
      // Objects list number-like keys first, so their order would not be the caller's.
      if (name === "" || /^\d+$/.test(name))
        fail("option", "Mesh", "an axis name must not be empty or a number", `"${name}"`);
      if (!Number.isSafeInteger(size) || size < 1)
        fail("option", "Mesh", `the size of axis ${name} must be a positive integer`, size);
    }
    this.axisNames = Object.freeze(entries.map(([name]) => name));
    this.shape = Object.freeze(Object.fromEntries(entries));
    let stride = 1;
    this.strides = Object.fromEntries(
      entries.reverse().map(([name, size]) => {
        stride *= size;
        return [name, stride / size];
      }),
    );
    this.size = stride;
    Object.freeze(this);
  }

  /** How far devices that are neighbours along an axis are from each other in the order of devices. */
  strideOf(axis: string): number {
    meshAxisSize(axis, this);
    return this.strides[axis]!;
  }

  /** The index of a device along an axis. */
  placeOf(device: number, axis: string): number {
    if (!Number.isSafeInteger(device) || device < 0 || device >= this.size)
      fail("option", "Mesh.placeOf", `device must be one of the ${this.size} of ${this}`, device);
    return Math.floor(device / this.strideOf(axis)) % this.shape[axis]!;
  }

  toString(): string {
    return `Mesh(${this.axisNames.map((name) => `${name}=${this.shape[name]}`).join(", ")})`;
  }
}

const scope = createScope<Mesh>("mesh", (mesh) => mesh?.toString() ?? "");

/** Makes the mesh the active one for fn and all that it awaits; without fn, until the result is disposed (`using`). */
export function withMesh<R>(mesh: Mesh | null, fn: () => R): R;
export function withMesh(mesh: Mesh | null): Disposable;
export function withMesh<R>(mesh: Mesh | null, fn?: () => R): R | Disposable {
  if (mesh !== null && !(mesh instanceof Mesh))
    fail("option", "withMesh", "mesh must be a Mesh or null", mesh ?? String(mesh), "Pass new Mesh({ data: 2 }).");
  return fn ? scope.with(mesh ?? undefined, fn) : scope.with(mesh ?? undefined);
}

/** The active mesh, or undefined. */
export const activeMesh = (): Mesh | undefined => scope.current();

/** Size of an axis of a mesh (default: the active one); 1 for null. An axis that the mesh does not have is an error. */
export function meshAxisSize(axis: string | null, mesh: Mesh | undefined = activeMesh()): number {
  if (axis === null) return 1;
  expectString("meshAxisSize", { axis });
  if (mesh !== undefined && !(mesh instanceof Mesh))
    fail("option", "meshAxisSize", "mesh must be a Mesh", mesh, "Pass new Mesh({ data: 2 }).");
  const size = mesh && Object.hasOwn(mesh.shape, axis) ? mesh.shape[axis] : undefined;
  if (size !== undefined) return size;
  return fail(
    "option",
    "meshAxisSize",
    mesh ? `${axis} is not an axis of ${mesh}` : `no mesh is active that could have the axis ${axis}`,
    undefined,
    mesh ? `Its axes: ${mesh.axisNames.join(", ")}.` : "Enter one with withMesh(new Mesh({ ... }), fn).",
  );
}
