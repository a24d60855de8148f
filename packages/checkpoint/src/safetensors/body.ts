/** What writes the bytes of a safetensors file. */
import type { FileHandle } from "node:fs/promises";
import { writeFully } from "../atomic.js";
import type { Metadata } from "./codec.js";
import { type Described, layOut } from "./header.js";

/** Lays a file out, and gives what writes it: the data of each tensor is asked for when its turn comes. */
export function bodyOf(
  where: string,
  tensors: readonly Described[],
  metadata: Metadata,
  dataOf: (name: string) => Promise<ArrayBufferView>,
): (file: FileHandle) => Promise<void> {
  const { header, entries } = layOut(where, tensors, metadata);
  return async (file) => {
    await writeFully(file, header, 0);
    for (const { name, begin } of entries) await writeFully(file, await dataOf(name), header.length + begin);
  };
}
