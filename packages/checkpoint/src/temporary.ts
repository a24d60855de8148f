/**
 * Temporary files of saves: the thread that writes them stands in their names, so that those of the dead can be told and
 * removed, be it a process that was killed or a worker that was terminated.
 */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { lstat, readdir, unlink } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, join } from "node:path";

/** The writers of another machine, boot or container cannot be asked: their files go when nobody wrote to them for a day. */
const ABANDONED_MS = 24 * 60 * 60 * 1000;

const NAME = /^\.te-save-([0-9a-f]{8})-(\d{1,10})-(\d{1,20})-[0-9a-f]{12}\.tmp$/;

/** Short, whatever the file is called that it will become. */
export function temporaryName(): string {
  const thread = ownThread();
  return `.te-save-${kernel()}-${thread}-${startOf(thread)?.start ?? 0}-${randomBytes(6).toString("hex")}.tmp`;
}

/** The number of this thread, which for the first one of a process is that of the process. */
const ownThread = (): number => Number(attempt(() => basename(readlinkSync("/proc/thread-self"))) || process.pid);

/** Removes what saves left in a folder whose process died on the way. Never throws: leftovers harm nobody. */
export async function removeLeftovers(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    const [, where, thread, start] = NAME.exec(name) ?? [];
    if (where === undefined) continue;
    const path = join(folder, name);
    const dead = where === kernel() ? !isAlive(Number(thread), start!) : await isAbandoned(path);
    if (dead) await unlink(path).catch(() => {});
  }
}

export async function isAbandoned(path: string): Promise<boolean> {
  const stats = await lstat(path).catch(() => undefined);
  return stats !== undefined && Date.now() - stats.mtimeMs > ABANDONED_MS;
}

/** Numbers of threads are given again: the same one has also begun at the same time. */
function isAlive(thread: number, start: string): boolean {
  try {
    process.kill(thread, 0);
  } catch (error) {
    // Other errors say that there is one, of another user.
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
  const found = startOf(thread);
  return found === undefined || (found.start === start && !found.ended);
}

/** When a thread began, in ticks since the machine did, and whether it only waits to be buried; undefined without /proc. */
function startOf(thread: number): { start: string; ended: boolean } | undefined {
  const text = attempt(() => readFileSync(`/proc/${thread}/stat`, "utf8"));
  if (!text) return undefined;
  // The name of the program, in parentheses, may hold anything; state and start are fields 3 and 22.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { start: fields[19]!, ended: fields[0] === "Z" || fields[0] === "X" };
}

/** Where numbers of threads mean the same: one boot of one machine, and one container of it. */
let kernelId: string | undefined;
function kernel(): string {
  kernelId ??= createHash("sha256")
    .update(hostname())
    .update(attempt(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8")))
    .update(attempt(() => readlinkSync("/proc/self/ns/pid")))
    .digest("hex")
    .slice(0, 8);
  return kernelId;
}

/** What the system says, or nothing where it says nothing. */
function attempt(read: () => string): string {
  try {
    return read();
  } catch {
    return "";
  }
}
