/**
 * What each process of processes.test.ts runs: `save` writes the state as it lies in a way, with a fault on rank 1 if one is
 * asked for; `load` reads it as it lies in another, and prints how many bytes of tensors were read.
 */
import assert from "node:assert/strict";
import type { FileHandle } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";
import "@te/kernels-cpu";
import { processIndex } from "@te/sharding";
import { loadState, saveState } from "../src/index.js";
import { fileHandle, lieIn, type State, shardingsFor, state, tensorsOf } from "./meshes.js";

const [action, way, path, fault = "none"] = process.argv.slice(2) as [string, string, string, string?];

/** The third write of rank 1 goes wrong. */
async function breakWrites(): Promise<void> {
  const { prototype, write } = await fileHandle();
  let writes = 0;
  prototype.write = async function (this: FileHandle, ...args: unknown[]) {
    if (++writes === 3) {
      if (fault === "kill") process.kill(process.pid, "SIGKILL");
      if (fault === "full") throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
      if (fault === "slow") await setTimeout(6000);
    }
    return (write as (...args: unknown[]) => Promise<never>).apply(this, args);
  } as FileHandle["write"];
}

async function save(): Promise<void> {
  const placed = lieIn(way, state());
  if (processIndex() === 1) await breakWrites();
  try {
    await saveState(path, { ...placed, step: fault === "none" ? 5 : 6 });
  } catch (error) {
    console.log(`${processIndex()} failed: ${(error as Error).message}`);
    await setTimeout(500); // the others have theirs
    throw error;
  }
  console.log(`${processIndex()} saved`);
}

async function load(): Promise<void> {
  const { prototype, read } = await fileHandle();
  let bytes = 0;
  prototype.read = async function (this: FileHandle, ...args: unknown[]) {
    const result = await (read as (...args: unknown[]) => Promise<{ bytesRead: number }>).apply(this, args);
    if ((args[3] as number) > 8) bytes += result.bytesRead;
    return result;
  } as FileHandle["read"];
  const loaded = await loadState<State>(path, { shardings: shardingsFor(way) });
  const held = async (of: State) =>
    Promise.all(tensorsOf(of).flatMap(([name, x]) => x.addressableShards.map(async (s) => [name, await s.data()])));
  const shards = await held(loaded);
  assert.deepEqual(shards, await held(lieIn(way, state())));
  const needed = shards.reduce((sum, [, data]) => sum + (data as Uint8Array).byteLength, 0);
  console.log(`${processIndex()} has its parts, read ${bytes} of ${needed} at step ${loaded.step}`);
}

await (action === "save" ? save() : load());
