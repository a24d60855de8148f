/** Temporary files of saves: who writes them stands in their names, so that those of the dead can be told and removed. */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { lstat, readdir, unlink } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";

/** The writers of another machine, boot or container cannot be asked: their files go when nobody wrote to them for a day. */
const ABANDONED_MS = 24 * 60 * 60 * 1000;

const NAME = /^\.te-save-([0-9a-f]{8})-(\d{1,10})-(\d{1,20})-[0-9a-f]{12}\.tmp$/;

/** Short, whatever the file is called that it will become. */
export const temporaryName = (): string =>
  `.te-save-${kernel()}-${process.pid}-${startOf(process.pid)?.start ?? 0}-${randomBytes(6).toString("hex")}.tmp`;

/** Removes what saves left in a folder whose process died on the way. Never throws: leftovers harm nobody. */
export async function removeLeftovers(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    const [, where, pid, start] = NAME.exec(name) ?? [];
    if (where === undefined) continue;
    const path = join(folder, name);
    const dead = where === kernel() ? !isAlive(Number(pid), start!) : await isAbandoned(path);
    if (dead) await unlink(path).catch(() => {});
  }
}

async function isAbandoned(path: string): Promise<boolean> {
  const stats = await lstat(path).catch(() => undefined);
  return stats !== undefined && Date.now() - stats.mtimeMs > ABANDONED_MS;
}

/** Numbers of processes are given again: the same one has also begun at the same time. */
function isAlive(pid: number, start: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // Other errors say that there is one, of another user.
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
  const found = startOf(pid);
  return found === undefined || (found.start === start && !found.ended);
}

/** When a process began, in ticks since the machine did, and whether it only waits to be buried; undefined without /proc. */
function startOf(pid: number): { start: string; ended: boolean } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name of the program, in parentheses, may hold anything; state and start are fields 3 and 22.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { start: fields[19]!, ended: fields[0] === "Z" || fields[0] === "X" };
  } catch {
    return undefined;
  }
}

/** Where numbers of processes mean the same: one boot of one machine, and one container of it. */
let kernelId: string | undefined;
function kernel(): string {
  const attempt = (read: () => string): string => {
    try {
      return read();
    } catch {
      return "";
    }
  };
  kernelId ??= createHash("sha256")
    .update(hostname())
    .update(attempt(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8")))
    .update(attempt(() => readlinkSync("/proc/self/ns/pid")))
    .digest("hex")
    .slice(0, 8);
  return kernelId;
}
