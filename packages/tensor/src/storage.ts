import type { Aval } from "./aval.js";
import { byteSize, formatAval } from "./aval.js";
import { asTeError, type Backend, currentBackend, type DeviceBuffer } from "./backend.js";
import { type TypedArray, viewAs } from "./dtype.js";
import { fail } from "./errors.js";

const released = new FinalizationRegistry<DeviceBuffer>((buffer) => buffer.release());

let made = 0;

/** Where a concrete tensor's bytes are: in host memory until a device first needs them, then on that device. */
export class Storage {
  private host: TypedArray | undefined;
  private buffer: DeviceBuffer | undefined;
  private backend: Backend | undefined;
  private gone: "disposed" | "donated" | undefined;

  /** How many storages were made before this one. */
  readonly serial = made++;

  constructor(readonly aval: Aval) {}

  /** The serial of the next one. */
  static get next(): number {
    return made;
  }

  static ofHost(aval: Aval, data: TypedArray): Storage {
    const storage = new Storage(aval);
    storage.host = data;
    return storage;
  }

  static ofBuffer(aval: Aval, buffer: DeviceBuffer, backend: Backend): Storage {
    const storage = new Storage(aval);
    storage.attach(buffer, backend);
    return storage;
  }

  private attach(buffer: DeviceBuffer, backend: Backend): void {
    this.buffer = buffer;
    this.backend = backend;
    released.register(this, buffer, this);
  }

  private check(fn: string): void {
    if (!this.gone) return;
    const why = this.gone === "donated" ? "it was donated to a jit call, which reused its memory" : "it was disposed";
    const wayOut =
      this.gone === "donated"
        ? "Use the value that the call returned, or leave the argument out of donateArgnums."
        : "Keep it until its last use.";
    fail("disposed", fn, `tensor ${formatAval(this.aval)} has no data: ${why}`, undefined, wayOut);
  }

  /** The device buffer on `backend`, uploading or moving the bytes when they are elsewhere. */
  on(backend: Backend): DeviceBuffer {
    this.check("tensor");
    if (this.buffer && this.backend === backend) return this.buffer;
    const bytes = this.buffer ? this.buffer.readSync() : bytesOfArray(this.host!);
    try {
      const moved = backend.fromHost(bytes);
      this.drop();
      this.attach(moved, backend);
      return moved;
    } catch (error) {
      throw asTeError(error);
    }
  }

  async read(): Promise<TypedArray> {
    this.check("data");
    if (this.host) return this.host.slice();
    return viewAs(this.aval.dtype, await this.buffer!.read().catch((error) => Promise.reject(asTeError(error))));
  }

  readSync(): TypedArray {
    this.check("dataSync");
    if (this.host) return this.host.slice();
    try {
      return viewAs(this.aval.dtype, this.buffer!.readSync());
    } catch (error) {
      throw asTeError(error);
    }
  }

  private drop(): void {
    if (this.buffer) {
      released.unregister(this);
      this.buffer.release();
    }
    this.buffer = undefined;
    this.host = undefined;
  }

  dispose(): void {
    if (this.gone) return;
    this.drop();
    this.gone = "disposed";
  }

  /** After a program took the buffer over: an output now owns that memory. */
  donated(): void {
    this.drop();
    this.gone = "donated";
  }

  get isGone(): boolean {
    return this.gone !== undefined;
  }

  get bytes(): number {
    return byteSize(this.aval);
  }

  /** The device that holds the bytes, or the one that would. */
  get device(): string {
    return (this.backend ?? currentBackend()).name;
  }
}

const bytesOfArray = (data: TypedArray): Uint8Array =>
  new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
