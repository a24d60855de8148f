/** Safetensors files on disk: the header is read when a file is opened, tensors when they are asked for. */
import { constants, type FileHandle, open, realpath, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { type DType, TeError, type Tensor } from "@te/tensor";
import { checkDType, fail, withDefaults } from "@te/tensor/op";
import { checkPath, failNoFile, readFully } from "../atomic.js";
import { removeLeftovers } from "../temporary.js";
import { checkConversions, collect, type Metadata, orUnreadable } from "./codec.js";
import { type Conversions, readsAs, tensorOfBytes } from "./elements.js";
import { type Entry, failFile, type Header, type StoredType } from "./format.js";
import { LENGTH_BYTES, parseHeader, readHeaderLength } from "./header.js";
import { HEAD_BYTES } from "./other-formats.js";

/** What a file says of one tensor. */
export interface TensorInfo {
  readonly shape: readonly number[];
  /** What read gives without being asked for another; undefined where it has to be asked, as for F64, or no dtype will do. */
  readonly dtype: DType | undefined;
  /** The name of the type in the file, such as "BF16". */
  readonly storedType: StoredType;
  readonly bytes: number;
}

/**
 * Opens a safetensors file and reads its header only. Close it, or declare it with `await using`. Temporary files beside
 * it, of saves whose process died, are removed.
 *
 * Throws TeError with code "file", naming path, rule and value, when the file is missing, no regular file, or breaks the
 * format; files of other formats are named as what they are.
 */
export function openSafetensors(path: string): Promise<SafetensorsFile> {
  return openAs("openSafetensors", path);
}

/** openSafetensors in the name of the function that a user called. */
export async function openAs(fn: string, path: string): Promise<SafetensorsFile> {
  checkPath(fn, path);
  const where = `${fn}(${path})`;
  const file = await openRegular(where, path);
  try {
    return await readHeader(where, file);
  } catch (error) {
    await file.close();
    if (TeError.is(error)) throw error;
    throw new TeError("file", `${where}: cannot be read: ${(error as Error).message}.`, { cause: error });
  }
}

/** Opens a regular file; a pipe, whose opening would wait for a writer, or a device is not even opened. */
async function openRegular(where: string, path: string): Promise<FileHandle> {
  try {
    const stats = await stat(path);
    if (!stats.isFile()) failNoFile(where, stats);
    // What took its place since then does not block either.
    const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    await removeLeftovers(dirname(await realpath(path).catch(() => path)));
    return file;
  } catch (error) {
    if (TeError.is(error)) throw error;
    throw new TeError("file", `${where}: cannot be opened: ${(error as Error).message}.`, { cause: error });
  }
}

async function readHeader(where: string, file: FileHandle): Promise<SafetensorsFile> {
  const stats = await file.stat();
  if (!stats.isFile()) failNoFile(where, stats);
  const { size } = stats;
  const start = new ArrayBuffer(Math.min(size, HEAD_BYTES));
  await readFully(file, start, 0);
  const length = readHeaderLength(where, new Uint8Array(start), size);
  const text = new ArrayBuffer(length);
  if ((await readFully(file, text, LENGTH_BYTES)) < length)
    failFile(where, "the file became shorter while it was read");
  const dataStart = LENGTH_BYTES + length;
  return new SafetensorsFile(where, file, parseHeader(where, new Uint8Array(text), size - dataStart), dataStart);
}

/** An open safetensors file. Tensors are read by range when asked for, several at a time if wanted. */
export class SafetensorsFile {
  private closed = false;

  /** @internal */
  constructor(
    private readonly where: string,
    private readonly file: FileHandle,
    private readonly header: Header,
    private readonly dataStart: number,
  ) {}

  /** Names of the tensors in alphabetical order. */
  get names(): string[] {
    return [...this.header.entries.keys()];
  }

  get metadata(): Metadata {
    return this.header.metadata;
  }

  has(name: string): boolean {
    return this.header.entries.has(name);
  }

  /** Shape and type of a tensor, without reading it. */
  info(name: string): TensorInfo {
    const { type, shape, begin, end } = this.entry(name);
    return { shape, dtype: readsAs(type), storedType: type, bytes: end - begin };
  }

  /**
   * Reads one tensor. Integers of other widths are read as int32, where they fit, and small floats as float32; `dtype`
   * asks for another, which F64 needs. Values are converted as by `tensor`.
   *
   * Throws TeError: "file" for an unknown name, "unsupported" where no dtype holds the values.
   */
  async read(name: string, options: { dtype?: DType } = {}): Promise<Tensor> {
    const { dtype } = withDefaults(`${this.where}.read`, options, { dtype: undefined });
    if (dtype !== undefined) checkDType(`${this.where}.read`, dtype);
    return tensorOfBytes(this.where, this.entry(name), await this.readBuffer(name), dtype);
  }

  /** The bytes of one tensor as they are in the file, for types that tensors do not have. */
  async readBytes(name: string): Promise<Uint8Array> {
    const buffer = await this.readBuffer(name);
    return allocating(this.where, name, buffer.byteLength, () => new Uint8Array(buffer));
  }

  private async readBuffer(name: string): Promise<ArrayBuffer> {
    const { begin, end } = this.entry(name);
    if (this.closed) throw new TeError("disposed", `${this.where}: the file is closed. Read before closing it.`);
    const buffer = allocating(this.where, name, end - begin, () => new ArrayBuffer(end - begin));
    const got = await readFully(this.file, buffer, this.dataStart + begin).catch((error) => {
      throw new TeError("file", `${this.where}: cannot be read: ${error.message}.`, { cause: error });
    });
    if (got < end - begin) failFile(this.where, `tensor ${JSON.stringify(name)} needs ${end - begin} bytes`, got);
    return buffer;
  }

  /**
   * Every tensor by name, read one after the other; `convert` asks for dtypes by stored type, as in decodeSafetensors.
   * Those that no dtype holds are no entries of the result, and asking it for one of them is an error that says why.
   */
  async readAll(options: { convert?: Conversions } = {}): Promise<Record<string, Tensor>> {
    const { convert = {} } = withDefaults(`${this.where}.readAll`, options, { convert: undefined });
    checkConversions(`${this.where}.readAll`, convert);
    const named: [string, Tensor | TeError][] = [];
    for (const name of this.names) {
      const entry = this.entry(name);
      const buffer = await this.readBuffer(name);
      named.push([name, orUnreadable(() => tensorOfBytes(this.where, entry, buffer, convert[entry.type]))]);
    }
    return collect(named).tensors;
  }

  /** Closes the file. A second call does nothing. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private entry(name: string): Entry {
    if (typeof name !== "string")
      fail("option", this.where, "the name of a tensor must be a string", name ?? String(name));
    const rule = `there is no tensor ${JSON.stringify(name)} in the file`;
    return this.header.entries.get(name) ?? failFile(this.where, rule);
  }
}

/** What `make` makes, or the error that says that an array of so many bytes cannot be. */
function allocating<T>(where: string, name: string, bytes: number, make: () => T): T {
  try {
    return make();
  } catch (error) {
    const rule = `${where}: tensor ${JSON.stringify(name)} must fit into memory and one array, but needs ${bytes} bytes`;
    throw new TeError("memory", `${rule}. Free tensors, or read on a machine with more memory.`, { cause: error });
  }
}
