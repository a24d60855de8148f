/** Safetensors files on disk: headers are read when they are opened, tensors when they are asked for. */
import { realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makeArrayFromCallback, type NamedSharding } from "@te/sharding";
import { type DType, TeError, type Tensor } from "@te/tensor";
import { checkDType, fail, withDefaults } from "@te/tensor/op";
import { checkPath } from "../atomic.js";
import { removeLeftovers } from "../temporary.js";
import { type Block, blockOf, wholeOf } from "./blocks.js";
import { checkConversions, collect, type Metadata, orUnreadable } from "./codec.js";
import { type Conversions, readsAs, tensorOfBytes } from "./elements.js";
import { failFile, MAX_HEADER_BYTES, type StoredType } from "./format.js";
import { isIndexPath, parseIndex, tensorsOfIndex } from "./index-file.js";
import { failRead, openRegular, openSource, type Source } from "./source.js";
import { bytesIn, readBlock, type StoredTensor, tensorsOfSource } from "./stored.js";

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
 * it, of saves whose process died, are removed. Of a name that ends in ".index.json" it opens all files that this index
 * names, as those of models in several files, and all that they hold reads as one file.
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
  const file = isIndexPath(path) ? await openIndexed(where, path) : await openOne(where, path);
  await removeLeftovers(dirname(await realpath(path).catch(() => path)));
  return file;
}

async function openOne(where: string, path: string): Promise<SafetensorsFile> {
  const source = await openSource(where, path);
  return new SafetensorsFile(where, [source], tensorsOfSource(source), source.header.metadata);
}

async function openIndexed(where: string, path: string): Promise<SafetensorsFile> {
  const index = parseIndex(where, await readText(where, path));
  const sources = new Map<string, Source>();
  try {
    for (const name of index.files) sources.set(name, await openShard(where, path, name));
    return new SafetensorsFile(where, [...sources.values()], tensorsOfIndex(where, index, sources), index.metadata);
  } catch (error) {
    for (const source of sources.values()) await source.close();
    throw error;
  }
}

/** A file that an index names: beside it or, where the index is a link, beside what that leads to. */
async function openShard(where: string, path: string, name: string): Promise<Source> {
  const near = join(dirname(path), name);
  const real = join(dirname(await realpath(path)), name);
  const isNear = await stat(near).then(
    () => true,
    () => false,
  );
  try {
    return await openSource(`${where}, ${name}`, isNear ? near : real);
  } catch (error) {
    const { code, message } = error as TeError;
    throw new TeError(code, `${message} All files that an index names are needed.`, { cause: error });
  }
}

/** The text of a file that is no longer than a header may be. */
async function readText(where: string, path: string): Promise<string> {
  const file = await openRegular(where, path);
  try {
    const { size } = await file.stat();
    if (size > MAX_HEADER_BYTES) failFile(where, `an index must have at most ${MAX_HEADER_BYTES} bytes`, size);
    return await file.readFile("utf8");
  } catch (error) {
    failRead(where, error);
  } finally {
    await file.close();
  }
}

/** An open safetensors file, or all that an index names. Tensors are read by range when asked for, several at a time if wanted. */
export class SafetensorsFile {
  private closed = false;
  private readonly tensors: ReadonlyMap<string, StoredTensor>;

  /** @internal */
  constructor(
    private readonly where: string,
    private readonly sources: readonly Source[],
    tensors: readonly StoredTensor[],
    readonly metadata: Metadata,
  ) {
    this.tensors = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  }

  /** Names of the tensors in alphabetical order. */
  get names(): string[] {
    return [...this.tensors.keys()];
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  /** Shape and type of a tensor, without reading it. */
  info(name: string): TensorInfo {
    const { type, shape } = this.entry(name);
    return { shape, dtype: readsAs(type), storedType: type, bytes: bytesIn(type, wholeOf(shape)) };
  }

  /**
   * Reads one tensor. Integers of other widths are read as int32, where they fit, and small floats as float32; `dtype`
   * asks for another, which F64 needs. Values are converted as by `tensor`.
   *
   * With a `sharding` it lies as that says, and what devices of this process hold is all that is read of the files. Every
   * process of the mesh reads its part.
   *
   * Throws TeError: "file" for an unknown name, "unsupported" where no dtype holds the values, "shape" where a dimension
   * does not divide.
   */
  async read(name: string, options: { dtype?: DType; sharding?: NamedSharding } = {}): Promise<Tensor> {
    const where = `${this.where}.read`;
    const { dtype, sharding } = withDefaults(where, options, { dtype: undefined, sharding: undefined });
    if (dtype !== undefined) checkDType(where, dtype);
    const tensor = this.entry(name);
    const readPart = async (block: Block) =>
      tensorOfBytes(this.where, { ...tensor, shape: block.shape }, await this.readBuffer(tensor, block), dtype);
    if (sharding === undefined) return readPart(wholeOf(tensor.shape));
    return makeArrayFromCallback(tensor.shape, sharding, (index) => readPart(blockOf(index)));
  }

  /** The bytes of one tensor as they are in the file, for types that tensors do not have. */
  async readBytes(name: string): Promise<Uint8Array> {
    const tensor = this.entry(name);
    const buffer = await this.readBuffer(tensor, wholeOf(tensor.shape));
    return allocating(this.where, name, buffer.byteLength, () => new Uint8Array(buffer));
  }

  private async readBuffer(tensor: StoredTensor, block: Block): Promise<ArrayBuffer> {
    if (this.closed) throw new TeError("disposed", `${this.where}: the file is closed. Read before closing it.`);
    const bytes = bytesIn(tensor.type, block);
    const buffer = allocating(this.where, tensor.name, bytes, () => new ArrayBuffer(bytes));
    await readBlock(tensor, block, buffer);
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
      const tensor = this.entry(name);
      const buffer = await this.readBuffer(tensor, wholeOf(tensor.shape));
      named.push([name, orUnreadable(() => tensorOfBytes(this.where, tensor, buffer, convert[tensor.type]))]);
    }
    return collect(named).tensors;
  }

  /** Closes the file. A second call does nothing. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    for (const source of this.sources) await source.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private entry(name: string): StoredTensor {
    if (typeof name !== "string")
      fail("option", this.where, "the name of a tensor must be a string", name ?? String(name));
    const rule = `there is no tensor ${JSON.stringify(name)} in the file`;
    return this.tensors.get(name) ?? failFile(this.where, rule);
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
