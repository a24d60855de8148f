/** Mesh resources: which axis of a mesh serves which kind of parallelism, and the guard that puts one in force. */
import { createScope, type Defaults, fail, withDefaults } from "@te/tensor/op";
import { activeMesh, type Mesh, meshAxisSize } from "./mesh.js";

/** A kind of parallelism, as a field of {@link MeshResource}. */
export type ResourceField = keyof MeshResourceOptions;

/** Mesh axis per kind of parallelism; null means that it is not used. */
export interface MeshResourceOptions {
  /** Data parallelism: splits the batch. Default null. */
  readonly dpResource?: string | null | undefined;
  /** Tensor parallelism: splits heads and hidden dimensions of weights and activations. Default null. */
  readonly tpResource?: string | null | undefined;
  /** Tensor and sequence parallelism on one axis: also splits the sequence between the products. Default null. */
  readonly tpspResource?: string | null | undefined;
  /** Fully sharded data parallelism: splits the batch and the weights. Default null. */
  readonly fsdpResource?: string | null | undefined;
  /** Pipeline parallelism. Default null. */
  readonly ppResource?: string | null | undefined;
  /** Context parallelism: splits the sequence inside attention. Default null. */
  readonly cpResource?: string | null | undefined;
  /** Expert parallelism. Default null. */
  readonly epResource?: string | null | undefined;
}

/** Which mesh axis serves which kind of parallelism. Fields hold axis names or null. */
export class MeshResource implements Required<MeshResourceOptions> {
  static readonly defaults = {
    dpResource: null,
    tpResource: null,
    tpspResource: null,
    fsdpResource: null,
    ppResource: null,
    cpResource: null,
    epResource: null,
  } satisfies Defaults<MeshResourceOptions>;

  readonly dpResource: string | null;
  readonly tpResource: string | null;
  readonly tpspResource: string | null;
  readonly fsdpResource: string | null;
  readonly ppResource: string | null;
  readonly cpResource: string | null;
  readonly epResource: string | null;

  /** Throws a TeError for a field that does not exist, or an axis that is no name. */
  constructor(options: MeshResourceOptions = {}) {
    const all = withDefaults("MeshResource", options, MeshResource.defaults);
    for (const [field, axis] of Object.entries(all)) {
      if (axis !== null && (typeof axis !== "string" || axis === ""))
        fail("option", "MeshResource", `${field} must be the name of a mesh axis or null`, axis === "" ? '""' : axis);
    }
    this.dpResource = all.dpResource;
    this.tpResource = all.tpResource;
    this.tpspResource = all.tpspResource;
    this.fsdpResource = all.fsdpResource;
    this.ppResource = all.ppResource;
    this.cpResource = all.cpResource;
    this.epResource = all.epResource;
    Object.freeze(this);
  }

  toString(): string {
    const set = FIELDS.filter((field) => this[field] !== null);
    return `MeshResource(${set.map((field) => `${field}=${JSON.stringify(this[field])}`).join(", ")})`;
  }
}

const FIELDS = Object.keys(MeshResource.defaults) as ResourceField[];

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

/** Whether a guard has put a resource in force. */
export const isResourceGiven = (): boolean => scope.current() !== undefined;

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
