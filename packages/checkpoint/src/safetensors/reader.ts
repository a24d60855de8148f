import { type FileHandle, open } from "node:fs/promises";
import { type DType, TeError, type Tensor } from "@te/tensor";
import { readFully } from "../atomic.js";
import { type Metadata, tensorOfBytes } from "./codec.js";
import { dtypeOf, type Entry, failFile, type Header, type StoredType } from "./format.js";
import { LENGTH_BYTES, parseHeader, readHeaderLength } from "./header.js";

/** What a file says of one tensor. */
export interface TensorInfo {
  readonly shape: readonly number[];
  /** undefined when tensors do not have the stored type, such as I64. */
  readonly dtype: DType | undefined;
  /** The name of the type in the file, such as "BF16". */
  readonly storedType: StoredType;
  readonly bytes: number;
}

/**
 * Opens a safetensors file and reads its header only. Close it, or declare it with `await using`.
 * Throws TeError with code "file", naming path, rule and value, when the file is missing or breaks the format.
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const where = `openSafetensors(${path})`;
  const file = await open(path, "r").catch((error) => {
    throw new TeError("file", `${where}: cannot be opened: ${error.message}`, { cause: error });
  });
  try {
    return await readHeader(where, file);
  } catch (error) {
    await file.close();
    if (TeError.is(error)) throw error;
    throw new TeError("file", `${where}: cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

async function readHeader(where: string, file: FileHandle): Promise<SafetensorsFile> {
  const { size } = await file.stat();
  const start = new Uint8Array(LENGTH_BYTES);
  await readFully(file, start, 0);
  const length = readHeaderLength(where, start, size);
  const text = new Uint8Array(length);
  if ((await readFully(file, text, LENGTH_BYTES)) < length)
    failFile(where, "the file became shorter while it was read");
  const dataStart = LENGTH_BYTES + length;
  return new SafetensorsFile(where, file, parseHeader(where, text, size - dataStart), dataStart);
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
    return { shape, dtype: dtypeOf(type), storedType: type, bytes: end - begin };
  }

  /** Reads one tensor. Throws TeError: "file" for an unknown name, "unsupported" for a type that tensors do not have. */
  async read(name: string): Promise<Tensor> {
    return tensorOfBytes(this.where, this.entry(name), await this.readBytes(name));
  }

  /** The bytes of one tensor as they are in the file, for types that tensors do not have. */
  async readBytes(name: string): Promise<Uint8Array> {
    const { begin, end } = this.entry(name);
    if (this.closed) throw new TeError("disposed", `${this.where}: the file is closed. Read before closing it.`);
    const bytes = new Uint8Array(end - begin);
    const got = await readFully(this.file, bytes, this.dataStart + begin).catch((error) => {
      throw new TeError("file", `${this.where}: cannot be read: ${error.message}`, { cause: error });
    });
    if (got < bytes.length) failFile(this.where, `tensor ${JSON.stringify(name)} needs ${bytes.length} bytes`, got);
    return bytes;
  }

  /** Every tensor by name. */
  async readAll(): Promise<Record<string, Tensor>> {
    const pairs: [string, Tensor][] = [];
    for (const name of this.names) pairs.push([name, await this.read(name)]);
    return Object.fromEntries(pairs);
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
    return (
      this.header.entries.get(name) ?? failFile(this.where, `there is no tensor ${JSON.stringify(name)} in the file`)
    );
  }
}
