/** What writes the bytes of a safetensors file. */
import type { FileHandle } from "node:fs/promises";
import { writeFully } from "../atomic.js";
import { addToChecksum, formatChecksum, withChecksums } from "./checksums.js";
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

/** The same with checksums of the tensors. The header, which holds them, is written last. */
export function checkedBodyOf(
  where: string,
  tensors: readonly Described[],
  metadata: Metadata,
  dataOf: (name: string) => Promise<ArrayBufferView>,
): (file: FileHandle) => Promise<void> {
  const sums = new Map(tensors.map(({ name }) => [name, formatChecksum(0)]));
  const headerNow = () => layOut(where, tensors, withChecksums(metadata, Object.fromEntries(sums)));
  const { header, entries } = headerNow();
  return async (file) => {
    for (const { name, begin } of entries) {
      const data = await dataOf(name);
      sums.set(name, formatChecksum(addToChecksum(0, data)));
      await writeFully(file, data, header.length + begin);
    }
    await writeFully(file, headerNow().header, 0);
  };
}
