/** What these tests share: folders that go away, files built by hand, errors as values, scripts as processes. */
import { execFileSync } from "node:child_process";
import { type FileHandle, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TeError } from "@te/tensor";
import { expect, onTestFinished, vi } from "vitest";
import { fileHandle } from "./meshes.js";

/** A directory that is removed after the test. */
export async function temporaryDirectory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "te-checkpoint-"));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** Builds a file from a header, as text or as an object, and data bytes. */
export function fileOf(header: string | object, dataBytes = 0): Uint8Array {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

/** Runs f and returns the TeError it throws; anything else fails the test. */
export async function teErrorOf(f: () => unknown): Promise<TeError> {
  try {
    await f();
  } catch (error) {
    expect(TeError.is(error), `a TeError rather than ${(error as Error).stack}`).toBe(true);
    return error as TeError;
  }
  throw new Error("expected a TeError");
}

const root = join(import.meta.dirname, "../../..");

/** The command that runs a script in a process of its own, with the names of this package and `tensor` in scope. */
export function scriptCommand(script: string, args: string[], shell = ""): [string, string[]] {
  const imports = `import { tensor } from "@te/tensor";
    import { loadState, saveState, writeSafetensors } from ${JSON.stringify(join(import.meta.dirname, "../src/index.ts"))};`;
  const node = [process.execPath, "--conditions=@te/source", "--import", "tsx", "--input-type=module", "-e"];
  const run = `cd ${root} && ${shell} exec "$@"`;
  return ["bash", ["-c", run, "run", ...node, `${imports}\n${script}`, ...args]];
}

/** Runs such a script and returns what it prints. */
export function runScript(script: string, args: string[], shell = ""): string {
  const [command, all] = scriptCommand(script, args, shell);
  return execFileSync(command, all, { encoding: "utf8", env: { ...process.env, TE_KERNELS: "off" } });
}

/** A read of a file: where it began, and how long it was. */
export type Read = readonly [position: number, bytes: number];

/** What is read of files from now on, until the test ends. */
export async function watchReads(): Promise<Read[]> {
  const reads: Read[] = [];
  const { prototype, read } = await fileHandle();
  const spy = vi.spyOn(prototype, "read").mockImplementation(async function (this: FileHandle, ...args: unknown[]) {
    const result = await (read as (...args: unknown[]) => Promise<{ bytesRead: number }>).apply(this, args);
    reads.push([args[3] as number, result.bytesRead]);
    return result as never;
  });
  onTestFinished(() => spy.mockRestore());
  return reads;
}
