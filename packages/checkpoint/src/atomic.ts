/** Files that appear whole or not at all, with the checks of paths and the full reads and writes that this needs. */
import type { Stats } from "node:fs";
import {
  access,
  constants,
  type FileHandle,
  lstat,
  open,
  readlink,
  realpath,
  rename,
  stat,
  unlink,
} from "node:fs/promises";
import { dirname, isAbsolute, join, sep } from "node:path";
import { TeError } from "@te/tensor";
import { asBytes, fail } from "@te/tensor/op";
import { removeLeftovers, temporaryName } from "./temporary.js";

/** As many links in a row as Linux follows. */
const MAX_LINKS = 40;

/**
 * Writes text or bytes to a file that appears whole or not at all: see replaceFile.
 * Throws TeError: "file" for the path and errors of the file system, "option" for content that is none.
 */
export async function writeAtomically(path: string, content: string | Uint8Array): Promise<void> {
  const fn = "writeAtomically";
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : asBytes(fn, "content", content);
  if (!bytes) fail("option", fn, "content must be a string or a Uint8Array", content ?? String(content));
  await replaceFile(fn, path, (file) => writeFully(file, bytes, 0));
}

/**
 * Writes a file so that `path` holds either its old content or the whole new one, even when the process or the machine
 * dies on the way: `body` fills a temporary file beside it, which is flushed to the disk and renamed. When `body` or the
 * file system fails, the temporary file is removed and the error is thrown on.
 *
 * A link stays: the file that it leads to is replaced (a hard link, another name of the old file, goes on naming that). A file that was there keeps its mode, and its owner where that is
 * allowed. What is no file (a folder, pipe, socket or device) and a file that may not be written are refused beforehand.
 */
export async function replaceFile(fn: string, path: string, body: (file: FileHandle) => Promise<void>): Promise<void> {
  const prepared = await prepareFile(fn, path, body);
  await prepared.commit();
}

/** A file that is written and safe on the disk, but not in its place yet. */
export interface PreparedFile {
  /** Puts it there. */
  commit(): Promise<void>;
  /** Removes it, wherever it is. */
  discard(): Promise<void>;
}

/** The first half of replaceFile. Where nothing is at the path, the file gets mode and owner of `like`. */
export async function prepareFile(
  fn: string,
  path: string,
  body: (file: FileHandle) => Promise<void>,
  like?: Stats,
): Promise<PreparedFile> {
  checkPath(fn, path);
  const where = `${fn}(${path})`;
  const { target, old = like } = await findTarget(fn, path);
  const folder = dirname(target);
  await removeLeftovers(folder);
  const temporary = join(folder, temporaryName());
  // Nobody else reads a file before it has the mode of the one that it replaces.
  const file = await open(temporary, "wx", old ? 0o600 : 0o666).catch((error) => failWrite(where, error));
  const orRemove = async (error: unknown): Promise<never> => {
    await unlink(temporary).catch(() => {});
    failWrite(where, error);
  };
  try {
    try {
      await body(file);
      if (old) await inherit(file, old);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    await orRemove(error);
  }
  let place = temporary;
  return {
    commit: async () => {
      await rename(temporary, target).catch(orRemove);
      place = target;
      await syncFolder(folder);
    },
    discard: () => unlink(place).catch(() => {}),
  };
}

/** Throws unless the value can be the name of a file. */
export function checkPath(fn: string, path: unknown): void {
  if (typeof path !== "string" || path === "" || path.endsWith(sep))
    fail("file", fn, "path must be the name of a file", path ?? String(path));
  if (path.includes("\0")) fail("file", fn, "path must hold no NUL character", JSON.stringify(path));
}

/** What stands at a path, where that is no regular file. */
export function failNoFile(where: string, stats: Stats): never {
  const kinds: [boolean, string][] = [
    [stats.isDirectory(), "a folder"],
    [stats.isFIFO(), "a named pipe"],
    [stats.isSocket(), "a socket"],
  ];
  const got = kinds.find(([is]) => is)?.[1] ?? "a device";
  const wayOut = got === "a folder" ? "Name a file in it." : "Name a file.";
  throw new TeError("file", `${where}: the path must be that of a regular file, got ${got}. ${wayOut}`);
}

/** The file that the path leads to through links, and what is known of it; it need not exist. */
export async function findTarget(fn: string, path: string): Promise<{ target: string; old?: Stats }> {
  checkPath(fn, path);
  const where = `${fn}(${path})`;
  return followLinks(where, path).catch((error) => failWrite(where, error));
}

async function followLinks(where: string, path: string): Promise<{ target: string; old?: Stats }> {
  // First what opening it would meet: the links of /proc lead where no path does.
  const met = await stat(path).catch(unlessMissing);
  if (met && !met.isFile()) failNoFile(where, met);
  if (met) await access(path, constants.W_OK);
  let target = path;
  for (let links = 0; links < MAX_LINKS; links++) {
    const old = await lstat(target).catch(unlessMissing);
    if (!old?.isSymbolicLink()) return old ? { target, old } : { target };
    const to = await readlink(target);
    target = isAbsolute(to) ? to : `${await realpath(dirname(target))}${sep}${to}`;
  }
  throw new TeError("file", `${where}: the path must lead to a file within ${MAX_LINKS} links. Remove the circle.`);
}

function unlessMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

/**
 * Gives a file the owner and the mode of the one that it replaces. Where the owner stays ours, nothing runs as us that ran
 * as somebody else; where the group does, it gets no more than everybody had.
 */
async function inherit(file: FileHandle, { mode, uid, gid }: Stats): Promise<void> {
  const attempt = (change: Promise<void>): Promise<boolean> =>
    change.then(
      () => true,
      () => false,
    );
  const now = await file.stat();
  const sameOwner = now.uid === uid || (await attempt(file.chown(uid, -1)));
  const sameGroup = now.gid === gid || (await attempt(file.chown(-1, gid)));
  const others = mode & 0o007;
  const kept = sameGroup ? mode : (mode & ~0o070) | (mode & (others << 3));
  await file.chmod(kept & (sameOwner && sameGroup ? 0o7777 : 0o777));
}

function failWrite(where: string, error: unknown): never {
  if (TeError.is(error)) throw error;
  const { code, message } = error as NodeJS.ErrnoException;
  const wayOut: Record<string, string> = {
    ENOENT: ". Make its folder first.",
    ENOSPC: ". Make room on the disk; what was there before is unharmed.",
    ELOOP: ". Remove the circle of links.",
    EACCES: ". Allow writing to the file and to its folder.",
    EROFS: ". Choose a folder that can be written.",
    ENAMETOOLONG: ". Choose a shorter name.",
  };
  throw new TeError("file", `${where}: cannot be written: ${message}${wayOut[code!] ?? ""}`, { cause: error });
}

/** Makes the rename itself durable. Some file systems cannot; the file is complete either way. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r").catch(() => undefined);
  await folder?.sync().catch(() => {});
  await folder?.close();
}

/** A single call reads or writes at most so much. */
const MAX_CALL = 2 ** 30;

/** Writes all of a buffer, or of a view of one, at a position; a single write may be short. */
export async function writeFully(file: FileHandle, bytes: ArrayBufferView, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const part = partOf(bytes.buffer as ArrayBuffer, bytes.byteOffset + done, bytes.byteLength - done);
    done += (await file.write(part, 0, part.length, position + done)).bytesWritten;
  }
}

/** Reads at a position until a part of the buffer is full; returns how many bytes there were before the end of the file. */
export async function readFully(
  file: FileHandle,
  buffer: ArrayBuffer,
  position: number,
  offset = 0,
  length = buffer.byteLength,
): Promise<number> {
  for (let done = 0; done < length; ) {
    const part = partOf(buffer, offset + done, length - done);
    const { bytesRead } = await file.read(part, 0, part.length, position + done);
    if (bytesRead === 0) return done;
    done += bytesRead;
  }
  return length;
}

/** Bytes of a buffer that may be larger than one Uint8Array can view. */
const partOf = (buffer: ArrayBuffer, from: number, length: number): Uint8Array =>
  new Uint8Array(buffer, from, Math.min(length, MAX_CALL));
