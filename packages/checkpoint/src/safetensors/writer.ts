import { writeAtomically, writeFully } from "../atomic.js";
import { bytesOfTensor, describe, type Metadata, type NamedTensors } from "./codec.js";
import { layOut } from "./header.js";

/**
 * Writes tensors to a safetensors file. The file appears whole or not at all: on any failure a file that was there
 * before is untouched. Tensors are read one after another, so keep them (do not donate or dispose them) until the promise
 * resolves.
 *
 * Throws TeError: "dtype" for float64, "option" for values that are no tensors, "file" for reserved names and errors of the file system.
 */
export async function writeSafetensors(path: string, tensors: NamedTensors, metadata: Metadata = {}): Promise<void> {
  const where = `writeSafetensors(${path})`;
  const { header, entries } = layOut(where, describe(where, tensors, metadata), metadata);
  await writeAtomically(path, async (file) => {
    await writeFully(file, header, 0);
    for (const { name, begin } of entries) {
      await writeFully(file, await bytesOfTensor(tensors[name]!), header.length + begin);
    }
  });
}
