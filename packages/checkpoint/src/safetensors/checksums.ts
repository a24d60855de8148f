/**
 * Checksums of the tensors of a file, by which a byte that flipped on a disk is found. Files that have an index carry them in
 * their metadata, as JSON: `"te-crc32": "{\"kernel\":\"0a1b2c3d\"}"`.
 */
import { crc32 } from "node:zlib";
import type { Metadata } from "./codec.js";
import { failFile } from "./format.js";
import { isRecord } from "./header.js";
import { parseJson } from "./json.js";

const KEY = "te-crc32";
const LONGEST = 2 ** 30;

/** CRC-32 by name, as eight digits. */
export type Checksums = Readonly<Record<string, string>>;

/** Goes on from `before`, the checksum of the bytes ahead. */
export function addToChecksum(before: number, bytes: ArrayBufferView): number {
  let sum = before;
  for (let at = 0; at < bytes.byteLength; at += LONGEST) {
    const length = Math.min(LONGEST, bytes.byteLength - at);
    sum = crc32(new Uint8Array(bytes.buffer as ArrayBuffer, bytes.byteOffset + at, length), sum);
  }
  return sum;
}

export const formatChecksum = (sum: number): string => sum.toString(16).padStart(8, "0");

/** The metadata of a file with checksums, which is as long whatever they are. */
export const withChecksums = (metadata: Metadata, checksums: Checksums): Metadata => ({
  ...metadata,
  [KEY]: JSON.stringify(checksums),
});

/** Takes the checksums out of the metadata of a file; there are none in files of others. Throws TeError with code "file". */
export function takeChecksums(where: string, metadata: Metadata): [Checksums, Metadata] {
  const { [KEY]: text, ...others } = metadata;
  if (text === undefined) return [{}, metadata];
  const sums = parseJson(where, `${KEY} in the metadata`, text);
  if (!isRecord(sums) || !Object.values(sums).every((sum) => typeof sum === "string" && /^[0-9a-f]{8}$/.test(sum)))
    failFile(where, `${KEY} in the metadata must be an object of checksums of eight digits`, text);
  return [sums as Checksums, others];
}
