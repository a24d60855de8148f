import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TeError } from "@te/tensor";
import { expect, onTestFinished } from "vitest";

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
