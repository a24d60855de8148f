/** How a tensor is split: mesh axes for each of its dimensions, alone and together with a mesh. */
import type { Sharding, Tensor } from "@te/tensor";
import { checkShape, fail } from "@te/tensor/op";
import { layoutOf, placeOn } from "./device-put.js";
import { Mesh, meshAxisSize } from "./mesh.js";
import { type Index, partIndex } from "./partition/layout.js";

/** How one dimension is split: over no axis, one axis, or several with the first outermost. */
export type PartitionEntry = string | null | readonly string[];

/** The mesh axes that split each dimension of a tensor: `new PartitionSpec("data", null, ["x", "y"])`. Dimensions past the end are whole. */
export class PartitionSpec {
  readonly entries: readonly PartitionEntry[];

  /** Throws when an entry is no name, list of names or null, or an axis stands in two places. */
  constructor(...entries: PartitionEntry[]) {
    const used = new Set<string>();
    for (const entry of entries) {
      const axes = axesOf(entry);
      // By index, because holes count.
      for (let i = 0; i < axes.length; i++) {
        const axis = axes[i]!;
        if (typeof axis !== "string" || axis === "")
          fail(
            "option",
            "PartitionSpec",
            "an entry must be an axis name, a list of names or null",
            axis === "" ? '""' : (axis ?? String(axis)),
          );
        if (used.has(axis)) fail("option", "PartitionSpec", "a mesh axis can split one dimension only", axis);
        used.add(axis);
      }
    }
    this.entries = Object.freeze(entries.map((entry) => (Array.isArray(entry) ? Object.freeze([...entry]) : entry)));
    Object.freeze(this);
  }

  /** Every axis that it uses, in order. */
  get axes(): string[] {
    return this.entries.flatMap(axesOf);
  }

  toString(): string {
    return `PartitionSpec(${this.entries.map((entry) => JSON.stringify(entry)).join(", ")})`;
  }
}

function axesOf(entry: PartitionEntry): readonly string[] {
  if (entry === null) return [];
  return Array.isArray(entry) ? entry : [entry as string];
}

/** A mesh and how a tensor is split over it. */
export class NamedSharding implements Sharding {
  /** Throws when the spec uses an axis that the mesh does not have. */
  constructor(
    readonly mesh: Mesh,
    readonly spec: PartitionSpec,
  ) {
    if (!(mesh instanceof Mesh)) fail("option", "NamedSharding", "mesh must be a Mesh", mesh ?? String(mesh));
    if (!(spec instanceof PartitionSpec))
      fail("option", "NamedSharding", "spec must be a PartitionSpec", spec ?? String(spec));
    for (const axis of spec.axes) meshAxisSize(axis, mesh);
    Object.freeze(this);
  }

  /** x as it lies under the sharding, whose mesh must be the active one: see devicePut and withShardingConstraint. */
  place(x: Tensor): Tensor {
    return placeOn(this, x);
  }

  /** Number of parts of each of the first dimensions. */
  get parts(): number[] {
    return this.spec.entries.map((entry) => axesOf(entry).reduce((n, axis) => n * meshAxisSize(axis, this.mesh), 1));
  }

  /** Where the part of each device of the mesh is, in the order of devices. Throws as shardShape does. */
  devicesIndicesMap(shape: readonly number[]): Index[] {
    this.shardShape(shape);
    const layout = layoutOf(this, shape.length);
    return Array.from({ length: this.mesh.size }, (_, device) => partIndex(this.mesh, layout, device, shape));
  }

  /** Shape of the part that one device holds. Throws when a dimension is missing or does not divide. */
  shardShape(shape: readonly number[]): number[] {
    checkShape("shardShape", shape);
    const parts = this.parts;
    if (parts.length > shape.length) {
      fail("shape", "shardShape", `${this.spec} describes ${parts.length} dimensions`, `shape [${shape.join(",")}]`);
    }
    return shape.map((size, i) => {
      const count = parts[i] ?? 1;
      if (size % count !== 0)
        fail("shape", "shardShape", `dimension ${i} must be a multiple of ${count} under ${this.spec}`, size);
      return size / count;
    });
  }
}
