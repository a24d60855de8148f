/** Memory of a value that is split: its distinct parts on the devices of this process. */
import type { Aval } from "@te/tensor";
import type { DeviceBuffer } from "@te/tensor/backend";
import { bytesOf, fail, formatAval, stridedCopy, stridesOf } from "@te/tensor/op";
import type { Mesh } from "./mesh.js";
import { countAlong, formatLayout, type Layout, partShape, wholeLayout } from "./partition/layout.js";

/** How a value lies, and over which mesh. Before a program has seen it only its bytes are known, and it is whole. */
export interface Placement {
  readonly mesh: Mesh;
  readonly aval: Aval;
  readonly layout: Layout;
  /** The layout as text. */
  readonly key: string;
}

export class MeshBuffer implements DeviceBuffer {
  constructor(
    readonly parts: readonly DeviceBuffer[],
    readonly bytes: number,
    readonly placement?: Placement,
  ) {}

  /** Its layout, of a value of this rank. */
  layout(rank: number): Layout {
    return this.placement?.layout ?? wholeLayout(rank);
  }

  async read(): Promise<Uint8Array> {
    return this.join(await Promise.all(this.parts.map((part) => part.read())));
  }

  readSync(): Uint8Array {
    return this.join(this.parts.map((part) => part.readSync()));
  }

  /** The whole from its parts, in row-major order of the dimensions that are split. */
  private join(parts: readonly Uint8Array[]): Uint8Array {
    if (!this.placement) return parts[0]!;
    const { mesh, aval, layout } = this.placement;
    const counts = layout.dims.map((axes) => countAlong(mesh, axes));
    const count = counts.reduce((n, parts) => n * parts, 1);
    if (count === 1) return parts[0]!;
    if (parts.length < count)
      fail(
        "unsupported",
        "data",
        `${formatAval(aval)}${formatLayout(layout)} is split over ${mesh}, and this process holds a part of it`,
        `${parts.length} of ${count} parts`,
        "Bring it together first, on all processes: devicePut(x, new NamedSharding(mesh, new PartitionSpec())).",
      );
    const width = bytesOf(aval.dtype);
    const whole = new Uint8Array(this.bytes);
    const shape = [...partShape(mesh, layout, aval.shape), width];
    const strides = [...stridesOf(aval.shape).map((stride) => stride * width), 1];
    parts.forEach((part, k) => {
      let [rest, offset] = [k, 0];
      for (let dim = counts.length - 1; dim >= 0; dim--) {
        offset += (rest % counts[dim]!) * shape[dim]! * strides[dim]!;
        rest = Math.floor(rest / counts[dim]!);
      }
      stridedCopy(shape, part, stridesOf(shape), 0, whole, strides, offset);
    });
    return whole;
  }

  release(): void {
    for (const part of this.parts) part.release();
  }

  donate(): void {
    for (const part of this.parts) part.donate();
  }

  reclaim(): boolean {
    return this.parts.map((part) => part.reclaim()).every((isThere) => isThere);
  }
}
