/**
 * What each process of shard-map-processes.test.ts runs: all collectives that are written by hand, on the meshes of its world.
 * Writes what it has into a folder: what processes print at once mixes.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import "@te/kernels-cpu";
import { initDistributed, processCount, processIndex } from "../src/index.js";
import { MESHES, resultsOn } from "./shard-map-cases.js";

const [folder] = process.argv.slice(2) as [string];
initDistributed();
const results: Record<string, number[]>[] = [];
for (const mesh of MESHES[processCount()]!) results.push(await resultsOn(mesh));
writeFileSync(join(folder, String(processIndex())), JSON.stringify(results));
