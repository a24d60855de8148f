/** The mesh of the demo: what its axes are for, how states come to lie over it, and what its first process does for all. */
import {
  activeMesh,
  devicePut,
  finishTogether,
  globalShardGuard,
  Mesh,
  MeshResource,
  NamedSharding,
  PartitionSpec,
  processIndex,
  withMesh,
} from "@te/sharding";
import { type Tensor, tree } from "@te/tensor";

/** What each axis that --mesh may name is for. */
export const AXES = {
  data: "dpResource",
  fsdp: "fsdpResource",
  tensor: "tpResource",
  tpsp: "tpspResource",
} as const;

/** How many devices lie along each axis. */
export type MeshShape = Readonly<Partial<Record<keyof typeof AXES, number>>>;

/** As --mesh takes it. */
export const formatMesh = (shape: MeshShape): string =>
  Object.entries(shape)
    .map(([name, size]) => `${name}=${size}`)
    .join(",");

/** Calls body with the mesh in force; without a shape, with none. */
export function onMesh<R>(shape: MeshShape | undefined, body: () => R): R {
  if (!shape) return body();
  const names = Object.keys(shape) as (keyof typeof AXES)[];
  const resource = new MeshResource(Object.fromEntries(names.map((name) => [AXES[name], name])));
  return withMesh(new Mesh(shape as Record<string, number>), () => globalShardGuard(resource, body));
}

/** Calls body on the device of this process alone. */
export const offMesh = <R>(body: () => R): R => withMesh(null, () => globalShardGuard(null, body));

/** Where several processes run together, one of them prints and writes. */
export const isFirst = (): boolean => processIndex() === 0;

/** Runs work in the first process; the others wait. `what` stands in errors. All have come here. */
export const byFirst = (what: string, work: () => Promise<void>): Promise<void> =>
  finishTogether(what, async () => {
    if (isFirst()) await work();
  });

/** The tensors of a tree, each whole on every device: all processes call it. They are new ones where a mesh is in force. */
export function bringTogether<T>(state: T): T {
  const mesh = activeMesh();
  if (!mesh || mesh.size === 1) return state;
  const whole = new NamedSharding(mesh, new PartitionSpec());
  return tree.map((x) => devicePut(x, whole), state) as T;
}

/** The tensors of a tree as those of another lie; the tree is used up. */
export function lieLike<T>(state: T, model: T): T {
  const place = (x: Tensor, { sharding }: Tensor): Tensor => {
    if (!sharding || String(x.sharding?.spec) === String(sharding.spec)) return x;
    const placed = devicePut(x, sharding);
    x.dispose();
    return placed;
  };
  return tree.map(place, state, model) as T;
}
