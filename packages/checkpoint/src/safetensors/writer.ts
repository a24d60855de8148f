/** Tensors into safetensors files on disk, one after another. */
import { checkPath, replaceFile } from "../atomic.js";
import { bodyOf } from "./body.js";
import { describe, type Metadata, type NamedTensors } from "./codec.js";
import { isIndexPath } from "./index-file.js";
import { writeShards } from "./shards.js";

/**
 * Writes tensors to a safetensors file. The file appears whole or not at all: on any failure a file that was there
 * before is untouched. A link stays and the file that it leads to is replaced; a file that was there keeps its mode.
 * Tensors are read one after another, so keep them (do not donate or dispose them) until the promise resolves.
 *
 * Under a name that ends in ".index.json" it writes an index and, beside it, a file for each device of the mesh that the
 * tensors lie over, with parts that the device holds. All processes that run together call it, with the same file system
 * under them, and compute nothing until it is done.
 *
 * Throws TeError: "dtype" for float64, "option" for values that are no tensors, "file" for reserved names, for paths of
 * what is no file and for errors of the file system, "backend" where another process failed.
 */
export function writeSafetensors(path: string, tensors: NamedTensors, metadata: Metadata = {}): Promise<void> {
  return writeAs("writeSafetensors", path, tensors, metadata);
}

/** writeSafetensors in the name of the function that a user called. `ofShards`: the metadata of files that have an index. */
export async function writeAs(
  fn: string,
  path: string,
  tensors: NamedTensors,
  metadata: Metadata,
  ofShards: Metadata = metadata,
): Promise<void> {
  checkPath(fn, path);
  const where = `${fn}(${path})`;
  const described = describe(where, tensors, metadata);
  if (isIndexPath(path)) return writeShards(fn, path, { tensors, described, metadata, ofShards });
  await replaceFile(
    fn,
    path,
    bodyOf(where, described, metadata, (name) => tensors[name]!.data()),
  );
}
