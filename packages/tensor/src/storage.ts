/** Storage: the bytes behind a concrete tensor, their way to a device and back, and the end of their life. */
import { asTeError } from "./as-error.js";
import type { Aval } from "./aval.js";
import { byteSize, formatAval } from "./aval.js";
import type { Backend, DeviceBuffer } from "./backend.js";
import { currentBackend } from "./devices.js";
import { type TypedArray, viewAs } from "./dtype.js";
import { fail } from "./errors.js";
import { copyInPieces } from "./pieces.js";

/** Arrays from this size on go to the device when a tensor copies them: it does so faster than JavaScript. */
const LARGE = 2 ** 20;

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

  /** Takes the array over: nobody else may change it. */
  static ofHost(aval: Aval, data: TypedArray): Storage {
    const storage = new Storage(aval);
    storage.host = data;
    return storage;
  }

  /** A copy of an array that the caller may change later. */
  static ofCopy(aval: Aval, data: TypedArray): Storage {
    if (data.byteLength < LARGE || !(data.buffer instanceof ArrayBuffer)) return Storage.ofHost(aval, data.slice());
    const backend = currentBackend();
    try {
      return Storage.ofBuffer(aval, backend.fromHost(bytesOfArray(data), "copy"), backend);
    } catch (error) {
      throw asTeError(error);
    }
  }

  static ofBuffer(aval: Aval, buffer: DeviceBuffer, backend: Backend): Storage {
    const storage = new Storage(aval);
    storage.attach(buffer, backend);
    return storage;
  }

  private attach(buffer: DeviceBuffer, backend: Backend): void {
    this.buffer = buffer;
    this.backend = backend;
  }

  private check(fn: string): void {
    if (!this.isGone) return;
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
    try {
      const bytes = this.buffer ? this.buffer.readSync() : bytesOfArray(this.host!);
      const moved = backend.fromHost(bytes, "take");
      this.drop();
      this.attach(moved, backend);
      return moved;
    } catch (error) {
      throw asTeError(error);
    }
  }

  async read(): Promise<TypedArray> {
    this.check("data");
    if (this.host) return copyInPieces(this.host);
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
    this.buffer?.release();
    this.buffer = undefined;
    this.host = undefined;
  }

  dispose(): void {
    if (this.gone === "disposed") return;
    this.drop();
    this.gone = "disposed";
  }

  /** After a run that may write over the buffer was dispatched. */
  donated(): void {
    this.buffer?.donate();
    this.gone = "donated";
  }

  /** Whether there is no data any more. A run that failed leaves what was donated to it, which is found out here. */
  get isGone(): boolean {
    if (this.gone === "donated" && this.buffer?.reclaim()) this.gone = undefined;
    return this.gone !== undefined;
  }

  /** What the device that holds the bytes knows of them; undefined while they are in host memory, and at their end. */
  get deviceBuffer(): DeviceBuffer | undefined {
    return this.isGone ? undefined : this.buffer;
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
