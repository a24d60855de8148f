/** Memory of a native device, behind a handle. */
import type { DeviceBuffer } from "../backend.js";
import type { NativeAddon } from "./addon.js";
import { reclaim } from "./reclaim.js";

/** Bytes from which on memory for a result is taken late. */
const LARGE = 2 ** 16;

/** One tensor's memory; given back when the object is collected. */
export class NativeBuffer implements DeviceBuffer {
  private released = false;
  private donated = false;

  constructor(
    private readonly native: NativeAddon,
    readonly handle: number,
    readonly bytes: number,
  ) {
    if (native.own(handle, this)) reclaim(native);
  }

  async read(): Promise<Uint8Array> {
    if (this.bytes >= LARGE) return new Uint8Array(await this.native.fetch(this.handle));
    const into = new Uint8Array(this.bytes);
    await this.native.read(this.handle, into);
    return into;
  }

  readSync(): Uint8Array {
    const into = new Uint8Array(this.bytes);
    this.native.readSync(this.handle, into);
    return into;
  }

  release(): void {
    if (this.released) return;
    this.released = true;
    if (this.donated) this.native.releaseDonated(this.handle);
    else this.native.release(this.handle);
  }

  donate(): void {
    this.donated = true;
  }

  reclaim(): boolean {
    this.donated = this.released || !this.native.reclaim(this.handle);
    return !this.donated;
  }
}
