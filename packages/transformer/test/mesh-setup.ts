/** Meshes that layers are split over in tests, each with the kinds of parallelism that its axes serve. */
import { globalShardGuard, Mesh, MeshResource, type MeshResourceOptions, withMesh } from "@te/sharding";

export interface Parallelism {
  readonly name: string;
  readonly mesh: Mesh;
  readonly resource: MeshResource;
  /** Whether the sequence is split between the products. */
  readonly sequence: boolean;
}

const parallelism = (
  name: string,
  shape: Readonly<Record<string, number>>,
  resource: MeshResourceOptions,
): Parallelism => ({
  name,
  mesh: new Mesh(shape),
  resource: new MeshResource(resource),
  sequence: resource.tpspResource !== undefined,
});

export const PARALLELISMS: readonly Parallelism[] = [
  parallelism("dp2", { data: 2 }, { dpResource: "data" }),
  parallelism("tp2", { tensor: 2 }, { tpResource: "tensor" }),
  parallelism("tpsp2", { tensor: 2 }, { tpspResource: "tensor" }),
  parallelism("fsdp2", { fully: 2 }, { fsdpResource: "fully" }),
  parallelism("dp2 x tp2", { data: 2, tensor: 2 }, { dpResource: "data", tpResource: "tensor" }),
  parallelism("fsdp2 x tpsp2", { fully: 2, tensor: 2 }, { fsdpResource: "fully", tpspResource: "tensor" }),
  parallelism(
    "dp2 x fsdp2 x tp2",
    { data: 2, fully: 2, tensor: 2 },
    { dpResource: "data", fsdpResource: "fully", tpResource: "tensor" },
  ),
];

/** Calls body with the mesh and its resource in force. */
export const under = <R>({ mesh, resource }: Parallelism, body: () => R): R =>
  withMesh(mesh, () => globalShardGuard(resource, body));
