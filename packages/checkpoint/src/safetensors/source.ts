/** One open safetensors file: what its header says, and its bytes by range. */
import { constants, type FileHandle, open, stat } from "node:fs/promises";
import { TeError } from "@te/tensor";
import { failNoFile, readFully } from "../atomic.js";
import { type Checksums, formatChecksum, takeChecksums } from "./checksums.js";
import { failFile, type Header } from "./format.js";
import { LENGTH_BYTES, parseHeader, readHeaderLength } from "./header.js";
import { HEAD_BYTES } from "./other-formats.js";

export class Source {
  constructor(
    /** For messages: the function and the path. */
    readonly where: string,
    private readonly file: FileHandle,
    readonly header: Header,
    private readonly dataStart: number,
    private readonly checksums: Checksums,
  ) {}

  /** Reads bytes of a tensor that begin at `begin` after the header, into a part of a buffer. */
  async read(name: string, begin: number, buffer: ArrayBuffer, offset: number, length: number): Promise<void> {
    const got = await readFully(this.file, buffer, this.dataStart + begin, offset, length).catch((error) =>
      failRead(this.where, error),
    );
    if (got < length) failFile(this.where, `tensor ${JSON.stringify(name)} needs ${length} bytes`, got);
  }

  /** Throws TeError with code "file" where the file says another checksum of all bytes of a tensor. */
  check(name: string, sum: number): void {
    const said = Object.hasOwn(this.checksums, name) ? this.checksums[name] : undefined;
    if (said === undefined || said === formatChecksum(sum)) return;
    const rule = `tensor ${JSON.stringify(name)} is damaged: its checksum must be ${said}`;
    failFile(this.where, rule, formatChecksum(sum));
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

/** Opens a file and reads its header. Throws TeError with code "file". */
export async function openSource(where: string, path: string): Promise<Source> {
  const file = await openRegular(where, path);
  try {
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
    const { entries, metadata } = parseHeader(where, new Uint8Array(text), size - dataStart);
    const [checksums, others] = takeChecksums(where, metadata);
    return new Source(where, file, { entries, metadata: others }, dataStart, checksums);
  } catch (error) {
    await file.close();
    failRead(where, error);
  }
}

/** Opens a regular file; a pipe, whose opening would wait for a writer, or a device is not even opened. */
export async function openRegular(where: string, path: string): Promise<FileHandle> {
  try {
    const stats = await stat(path);
    if (!stats.isFile()) failNoFile(where, stats);
    // What took its place since then does not block either.
    return await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    if (TeError.is(error)) throw error;
    throw new TeError("file", `${where}: cannot be opened: ${(error as Error).message}.`, { cause: error });
  }
}

export function failRead(where: string, error: unknown): never {
  if (TeError.is(error)) throw error;
  throw new TeError("file", `${where}: cannot be read: ${(error as Error).message}.`, { cause: error });
}
