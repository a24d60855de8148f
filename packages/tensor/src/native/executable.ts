/** A program that a native device has compiled, behind a handle. */
import type { DeviceBuffer, Executable } from "../backend.js";
import type { NativeAddon } from "./addon.js";
import { NativeBuffer } from "./buffer.js";
import { reclaim } from "./reclaim.js";

/** Runs in one native call; disposed when the object is collected. */
export class NativeExecutable implements Executable {
  private readonly handles: Int32Array<ArrayBuffer>;

  constructor(
    private readonly native: NativeAddon,
    private readonly handle: number,
    private readonly inputs: number,
    private readonly outputBytes: readonly number[],
  ) {
    this.handles = new Int32Array(inputs + outputBytes.length);
    if (native.ownProgram(handle, this)) reclaim(native);
  }

  run(inputs: readonly DeviceBuffer[]): DeviceBuffer[] {
    for (let i = 0; i < this.inputs; i++) this.handles[i] = (inputs[i] as NativeBuffer).handle;
    this.native.run(this.handle, this.handles.buffer);
    return this.outputBytes.map((bytes, j) => new NativeBuffer(this.native, this.handles[this.inputs + j]!, bytes));
  }

  dispose(): void {
    this.native.destroy(this.handle);
  }
}
