/** Tensors into several files: each process writes parts that it holds, and an index makes the files one. */
import { randomInt } from "node:crypto";
import type { Stats } from "node:fs";
import { readdir, readFile, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { agreeOnLargest, finishTogether, processCount, processIndex } from "@te/sharding";
import type { Tensor } from "@te/tensor";
import { findTarget, type PreparedFile, prepareFile, replaceFile, writeFully } from "../atomic.js";
import { isAbandoned } from "../temporary.js";
import { wholeOf } from "./blocks.js";
import { checkedBodyOf } from "./body.js";
import type { Metadata, NamedTensors } from "./codec.js";
import { failFile } from "./format.js";
import type { Described } from "./header.js";
import { formatIndex, type Indexed, parseIndex } from "./index-file.js";
import { type Plan, planShards, type Shard } from "./plan-shards.js";
import { bytesIn } from "./stored.js";

/** What is to be written: the metadata of the index, and that of the files. */
export interface Content {
  readonly tensors: NamedTensors;
  readonly described: readonly Described[];
  readonly metadata: Metadata;
  readonly ofShards: Metadata;
}

/** Processes that save together do it in the same order: one save at a time. */
let last: Promise<unknown> = Promise.resolve();

/**
 * Writes tensors and their index. New files have names of their own, and the index is put in its place last, by the first
 * process, when all have said that their files are there. Until then the old index stands, and so do its files, whatever
 * happens; afterwards those are removed.
 */
export function writeShards(fn: string, path: string, content: Content): Promise<void> {
  const result = last.then(() => write(fn, path, content));
  last = result.catch(() => {});
  return result;
}

async function write(fn: string, path: string, content: Content): Promise<void> {
  const where = `${fn}(${path})`;
  const plan = planShards(content.described, content.tensors);
  const { target, old } = await findTarget(fn, path);
  const stem = basename(target).replace(/(\.safetensors)?\.index\.json$/, "");
  const id = await agreeOnLargest(processIndex() === 0 ? randomInt(1, 2 ** 31) : 0, where);
  const files = plan.shards.map((_, i) => nameOf(stem, id, i + 1, plan.shards.length));
  const at = files.map((file) => join(dirname(target), file));

  await writeOwn(fn, path, content, plan, at, old);
  await finishTogether(where, async () => {
    if (processIndex() !== 0) return;
    const earlier = await filesOf(target);
    try {
      await checkPresence(where, at);
      await putIndex(fn, path, content, plan, files);
    } catch (error) {
      for (const file of at) await unlink(file).catch(() => {});
      throw error;
    }
    await removeEarlier(dirname(target), stem, files, earlier);
  });
}

/** Writes the files of this process. Those of all processes get their names once all are written, or none does. */
async function writeOwn(
  fn: string,
  path: string,
  { tensors, ofShards }: Content,
  { shards }: Plan,
  at: readonly string[],
  old: Stats | undefined,
): Promise<void> {
  const where = `${fn}(${path})`;
  const prepared: PreparedFile[] = [];
  const isOwn = ({ device }: Shard): boolean => processCount() === 1 || device === processIndex();
  try {
    await finishTogether(where, async () => {
      for (const [i, shard] of shards.entries()) {
        if (!isOwn(shard)) continue;
        const body = checkedBodyOf(where, shard.tensors, ofShards, (name) => partOn(shard.device, tensors[name]!));
        prepared.push(await prepareFile(fn, at[i]!, body, old));
      }
    });
    await finishTogether(where, async () => {
      for (const file of prepared) await file.commit();
    });
  } catch (error) {
    for (const file of prepared) await file.discard();
    throw error;
  }
}

/** The bytes that a device holds of a tensor: its part, or all of what lies over no mesh. */
function partOn(device: number, x: Tensor): Promise<ArrayBufferView> {
  const shard = x.addressableShards.find((shard) => shard.device === device);
  return shard ? shard.data() : x.data();
}

/** Files that another process wrote are there for this one too, unless it has another disk. */
async function checkPresence(where: string, at: readonly string[]): Promise<void> {
  for (const path of at) {
    const isThere = await stat(path).catch(() => undefined);
    if (!isThere) failFile(where, "all processes must write into one file system, but there is no", basename(path));
  }
}

async function putIndex(fn: string, path: string, content: Content, plan: Plan, files: readonly string[]) {
  const { described, metadata } = content;
  const fileOf = new Map(plan.shards.map(({ device }, i) => [device, files[i]!]));
  const indexed = described.map(({ name, shape }): [string, Indexed] => {
    const parts = plan.parts.get(name)!.map(({ start, device }) => ({ file: fileOf.get(device)!, start }));
    return [name, parts.length === 1 ? { file: parts[0]!.file } : { shape, parts }];
  });
  const bytes = described.reduce((sum, { type, shape }) => sum + bytesIn(type, wholeOf(shape)), 0);
  const text = formatIndex({ metadata, tensors: new Map(indexed) }, bytes);
  await replaceFile(fn, path, (file) => writeFully(file, new TextEncoder().encode(text), 0));
}

const nameOf = (stem: string, id: number, number: number, of: number): string => {
  const [own, all] = [number, of].map((n) => String(n).padStart(5, "0"));
  return `${stem}-${id.toString(16).padStart(8, "0")}-${own}-of-${all}.safetensors`;
};

const isNamed = (stem: string, file: string): boolean =>
  file.startsWith(`${stem}-`) && /^[0-9a-f]{8}-\d{5,}-of-\d{5,}\.safetensors$/.test(file.slice(stem.length + 1));

/** The files of the index at a path; none where there is no index that can be read. */
async function filesOf(path: string): Promise<readonly string[]> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  try {
    return text === undefined ? [] : parseIndex("", text).files;
  } catch {
    return [];
  }
}

/** Removes the files of an earlier save, and those of saves that were killed before they put their index in its place. */
async function removeEarlier(folder: string, stem: string, files: readonly string[], earlier: readonly string[]) {
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    if (!isNamed(stem, name) || files.includes(name)) continue;
    const path = join(folder, name);
    if (earlier.includes(name) || (await isAbandoned(path))) await unlink(path).catch(() => {});
  }
}
