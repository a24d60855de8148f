/** Tensors that lie over a mesh: how they get there, and what they know of it. */
import { Tensor } from "@te/tensor";
import { asTeError, type DeviceBuffer } from "@te/tensor/backend";
import { expectTensor, fail } from "@te/tensor/op";
import { withShardingConstraint } from "./constraint.js";
import { activeMesh, withMesh } from "./mesh.js";
import { MeshBuffer, type Placement } from "./mesh-buffer.js";
import { formatLayout, type Index, type Layout, partIndex, partOf, partShape, partsOn } from "./partition/layout.js";
import { NamedSharding, PartitionSpec } from "./partition-spec.js";
import { devicesOf } from "./world.js";

/** A part of a tensor as one device of the mesh holds it. */
export interface AddressableShard {
  /** The number of the device in the mesh. */
  readonly device: number;
  readonly shape: readonly number[];
  /** Where it is in the tensor: [start, end) along each dimension. */
  readonly index: Index;
  /** The bytes of its elements, in row-major order. */
  data(): Promise<Uint8Array>;
}

declare module "@te/tensor" {
  interface Tensor {
    /** How the tensor lies over a mesh; undefined where it was not made under one, or is traced. */
    readonly sharding: NamedSharding | undefined;
    /** The parts that devices of this process hold; none where the tensor was not made under a mesh. */
    readonly addressableShards: readonly AddressableShard[];
  }
}

/**
 * x as it lies under a sharding: split over its mesh, or whole on all of its devices where the spec names no axis. The values
 * are those of x. Every process of the mesh calls it with the same x. Throws where a dimension does not divide.
 */
export function devicePut(x: Tensor, sharding: NamedSharding): Tensor {
  expectTensor("devicePut", { x });
  if (!(sharding instanceof NamedSharding))
    fail("option", "devicePut", "sharding must be a NamedSharding", sharding ?? String(sharding));
  return withMesh(sharding.mesh, () => withShardingConstraint(x, sharding.spec));
}

const placedBuffer = (x: Tensor): MeshBuffer | undefined => {
  const buffer = x.storage?.deviceBuffer;
  return buffer instanceof MeshBuffer ? buffer : undefined;
};

/** What NamedSharding.place does: nothing where x lies so already. */
export function placeOn(sharding: NamedSharding, x: Tensor): Tensor {
  const mesh = activeMesh();
  if (mesh?.toString() !== sharding.mesh.toString())
    fail("state", "jit", `the mesh of the shardings must be the active one, ${sharding.mesh}`, mesh ?? "none");
  const placement = placementOf(x);
  const isThere = placement?.mesh.toString() === mesh.toString();
  if (isThere && placement.key === formatLayout(layoutOf(sharding, x.rank))) return x;
  return withShardingConstraint(x, sharding.spec);
}

/** How a value of some rank lies under a sharding: every dimension has its axes, those of one device are left out. */
export const layoutOf = ({ mesh, spec }: NamedSharding, rank: number): Layout => ({
  dims: Array.from({ length: rank }, (_, i) => [spec.entries[i] ?? []].flat().filter((axis) => mesh.shape[axis]! > 1)),
  partial: {},
});

const specOf = (dims: readonly (readonly string[])[]): PartitionSpec =>
  new PartitionSpec(...dims.map((axes) => (axes.length === 0 ? null : axes.length === 1 ? axes[0]! : axes)));

/** How a tensor lies over a mesh, as its memory knows; undefined where it was not made under one. */
export const placementOf = (x: Tensor): Placement | undefined => placedBuffer(x)?.placement;

Object.defineProperty(Tensor.prototype, "sharding", {
  configurable: true,
  get(this: Tensor): NamedSharding | undefined {
    const placement = placementOf(this);
    if (!placement) return undefined;
    return new NamedSharding(placement.mesh, specOf(placement.layout.dims));
  },
});

async function dataOf(part: DeviceBuffer): Promise<Uint8Array> {
  try {
    return await part.read();
  } catch (error) {
    throw asTeError(error);
  }
}

Object.defineProperty(Tensor.prototype, "addressableShards", {
  configurable: true,
  get(this: Tensor): readonly AddressableShard[] {
    const buffer = placedBuffer(this);
    if (!buffer?.placement) return [];
    const { mesh, layout } = buffer.placement;
    const shape = partShape(mesh, layout, this.shape);
    const held = partsOn(mesh, layout, devicesOf(mesh)).map(({ part }) => part);
    return devicesOf(mesh).map((device) => ({
      device,
      shape,
      index: partIndex(mesh, layout, device, this.shape),
      data: () => dataOf(buffer.parts[held.indexOf(partOf(mesh, layout, device))]!),
    }));
  },
});
