import { checkOptions, createScope, fail } from "@te/tensor";
import { activeMesh, type Mesh, meshAxisSize } from "./mesh.js";

const FIELDS = [
  "dpResource",
  "tpResource",
  "tpspResource",
  "fsdpResource",
  "ppResource",
  "cpResource",
  "epResource",
] as const;

/** A kind of parallelism, as a field of {@link MeshResource}. */
export type ResourceField = (typeof FIELDS)[number];

/** Mesh axis per kind of parallelism; null or left out means that it is not used. */
export type MeshResourceOptions = { readonly [F in ResourceField]?: string | null | undefined };

/** Which mesh axis serves which kind of parallelism. Fields hold axis names or null. */
export class MeshResource {
  /** Data parallelism: splits the batch. */
  readonly dpResource: string | null;
  /** Tensor parallelism: splits heads and hidden dimensions of weights and activations. */
  readonly tpResource: string | null;
  /** Tensor and sequence parallelism on one axis: like tpResource, and splits the sequence between the products. */
  readonly tpspResource: string | null;
  /** Fully sharded data parallelism: splits the batch and the weights. */
  readonly fsdpResource: string | null;
  /** Pipeline parallelism. */
  readonly ppResource: string | null;
  /** Context parallelism: splits the sequence inside attention. */
  readonly cpResource: string | null;
  /** Expert parallelism. */
  readonly epResource: string | null;

  constructor(options: MeshResourceOptions = {}) {
    checkOptions("MeshResource", options, FIELDS);
    for (const [field, axis] of Object.entries(options)) {
      if (axis !== null && axis !== undefined && (typeof axis !== "string" || axis === "")) {
        fail("option", "MeshResource", `${field} must be the name of a mesh axis or null`, axis === "" ? '""' : axis);
      }
    }
    this.dpResource = options.dpResource ?? null;
    this.tpResource = options.tpResource ?? null;
    this.tpspResource = options.tpspResource ?? null;
    this.fsdpResource = options.fsdpResource ?? null;
    this.ppResource = options.ppResource ?? null;
    this.cpResource = options.cpResource ?? null;
    this.epResource = options.epResource ?? null;
    Object.freeze(this);
  }

  toString(): string {
    const set = FIELDS.filter((field) => this[field] !== null);
    return `MeshResource(${set.map((field) => `${field}=${JSON.stringify(this[field])}`).join(", ")})`;
  }
}

const scope = createScope<MeshResource>("meshResource", (resource) => resource?.toString() ?? "");

/**
 * Puts the resource in force for fn and all that it awaits; without fn, until the result is disposed (`using`). Guards
 * nest and restore. null means that none is in force inside.
 */
export function globalShardGuard<R>(resource: MeshResource | null, fn: () => R): R;
export function globalShardGuard(resource: MeshResource | null): Disposable;
export function globalShardGuard<R>(resource: MeshResource | null, fn?: () => R): R | Disposable {
  if (resource !== null && !(resource instanceof MeshResource)) {
    fail(
      "option",
      "globalShardGuard",
      "resource must be a MeshResource or null",
      resource,
      'Pass new MeshResource({ dpResource: "data" }).',
    );
  }
  return fn ? scope.with(resource ?? undefined, fn) : scope.with(resource ?? undefined);
}

/**
 * The resource in force. Without a guard there is none, which is an error. So is a resource whose tpResource and
 * tpspResource both have a size above 1 in the active mesh, or one of these that the mesh does not have.
 */
export function globalMeshResource(): MeshResource {
  const resource = scope.current();
  if (!resource) {
    fail(
      "state",
      "globalMeshResource",
      "no MeshResource is in force",
      undefined,
      "Enter globalShardGuard(new MeshResource({ ... }), fn), or give autocast a meshResource.",
    );
  }
  checkTensorAxes(resource, activeMesh());
  return resource;
}

/** The resource in force, or one without any axis when there is no mesh to split over and no guard. */
export const resourceOrNone = (): MeshResource =>
  scope.current() || activeMesh() ? globalMeshResource() : new MeshResource();

function checkTensorAxes(resource: MeshResource, mesh: Mesh | undefined): void {
  if (!mesh) return;
  const sizes = [meshAxisSize(resource.tpResource, mesh), meshAxisSize(resource.tpspResource, mesh)];
  if (sizes.every((size) => size > 1)) {
    fail(
      "option",
      "globalMeshResource",
      "only one of tpResource and tpspResource may have a size above 1",
      `${resource} on ${mesh}`,
      "Set tpspResource alone for tensor with sequence parallelism, tpResource alone for tensor parallelism.",
    );
  }
}

/** The axis of a field if a mesh is active, the field is set and the axis has more than one device; otherwise null. */
export function activeResourceAxis(field: ResourceField): string | null {
  if (!FIELDS.includes(field)) fail("option", "activeResourceAxis", `field must be one of ${FIELDS.join(", ")}`, field);
  const mesh = activeMesh();
  if (!mesh) return null;
  const axis = globalMeshResource()[field];
  return meshAxisSize(axis, mesh) > 1 ? axis : null;
}
