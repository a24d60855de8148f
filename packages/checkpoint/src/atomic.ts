import { randomBytes } from "node:crypto";
import { type FileHandle, open, rename, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fail, TeError } from "@te/tensor";

/**
 * Writes a file so that `path` holds either its old content or the whole new one, even when the process or the machine
 * dies on the way: `body` fills a temporary file beside it, which is flushed to the disk and renamed. When `body` or the
 * file system fails, the temporary file is removed and the error is thrown on.
 */
export async function writeAtomically(path: string, body: (file: FileHandle) => Promise<void>): Promise<void> {
  if (typeof path !== "string" || path === "")
    fail("file", "writeSafetensors", "path must be the name of a file", path ?? String(path));
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.${randomBytes(6).toString("hex")}.tmp`);
  const file = await open(temporary, "wx").catch((error) => failWrite(path, error));
  try {
    try {
      await body(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    if (TeError.is(error)) throw error;
    failWrite(path, error);
  }
  await syncDirectory(dirname(path));
}

function failWrite(path: string, error: unknown): never {
  const { code, message } = error as NodeJS.ErrnoException;
  const wayOut = code === "ENOENT" ? ". Make its folder first." : "";
  throw new TeError("file", `${path}: cannot be written: ${message}${wayOut}`, { cause: error });
}

/** Makes the rename itself durable. Some file systems cannot; the file is complete either way. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r").catch(() => undefined);
  await directory?.sync().catch(() => {});
  await directory?.close();
}

/** Writes all of `bytes` at a position; a single write may be short. */
export async function writeFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const length = Math.min(bytes.length - done, 2 ** 30);
    done += (await file.write(bytes, done, length, position + done)).bytesWritten;
  }
}

/** Reads `bytes.length` bytes at a position; returns how many there were before the end of the file. */
export async function readFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < bytes.length) {
    const length = Math.min(bytes.length - done, 2 ** 30);
    const { bytesRead } = await file.read(bytes, done, length, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}
