/** Tensors into a safetensors file on disk, one after another. */
import { checkPath, replaceFile, writeFully } from "../atomic.js";
import { describe, type Metadata, type NamedTensors } from "./codec.js";
import { layOut } from "./header.js";

/**
 * Writes tensors to a safetensors file. The file appears whole or not at all: on any failure a file that was there
 * before is untouched. A link stays and the file that it leads to is replaced; a file that was there keeps its mode.
 * Tensors are read one after another, so keep them (do not donate or dispose them) until the promise resolves.
 *
 * Throws TeError: "dtype" for float64, "option" for values that are no tensors, "file" for reserved names, for paths of
 * what is no file and for errors of the file system.
 */
export function writeSafetensors(path: string, tensors: NamedTensors, metadata: Metadata = {}): Promise<void> {
  return writeAs("writeSafetensors", path, tensors, metadata);
}

/** writeSafetensors in the name of the function that a user called. */
export async function writeAs(fn: string, path: string, tensors: NamedTensors, metadata: Metadata): Promise<void> {
  checkPath(fn, path);
  const where = `${fn}(${path})`;
  const { header, entries } = layOut(where, describe(where, tensors, metadata), metadata);
  await replaceFile(fn, path, async (file) => {
    await writeFully(file, header, 0);
    for (const { name, begin } of entries) await writeFully(file, await tensors[name]!.data(), header.length + begin);
  });
}
