/** Temporary files: those of dead processes go with the next save or load in their folder, those of living ones stay. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { tensor } from "@te/tensor";
import { expect, onTestFinished, test } from "vitest";
import { loadState, openSafetensors, saveState, writeSafetensors } from "../src/index.js";
import { removeLeftovers, temporaryName } from "../src/temporary.js";
import { scriptCommand, teErrorOf, temporaryDirectory } from "./helpers.js";

const temporaries = async (folder: string): Promise<string[]> =>
  (await readdir(folder)).filter((name) => name.endsWith(".tmp"));

/** A process that stands still in the middle of a save, its temporary file written in part. */
async function halfWay(path: string) {
  const [command, args] = scriptCommand(
    `const t = tensor(new Float32Array(1 << 16));
     t.data = () => (console.log("half way"), new Promise(() => setInterval(() => {}, 1000)));
     await writeSafetensors(process.argv[1], { a: tensor([1]), t });`,
    [path],
  );
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  await once(child.stdout!, "data");
  return child;
}

test("a save removes what a killed one left, a load does too, and neither touches one that is alive", async () => {
  const folder = await temporaryDirectory();
  const path = join(folder, "state.safetensors");
  await saveState(path, { step: 1 });
  const [first, second, alive] = await Promise.all([halfWay(path), halfWay(path), halfWay(path)]);
  expect(await temporaries(folder)).toHaveLength(3);
  const kill = async (child: typeof first) => {
    child.kill("SIGKILL");
    await once(child, "exit");
  };
  const kept = () => temporaries(folder).then((names) => names.map((name) => Number(name.split("-")[3])));

  await kill(first);
  expect(await loadState(path)).toEqual({ step: 1 });
  expect((await kept()).sort()).toEqual([second.pid, alive.pid].sort());

  await kill(second);
  await saveState(path, { step: 2 });
  expect(await kept()).toEqual([alive.pid]);

  await kill(alive);
  await (await openSafetensors(path)).close();
  expect(await readdir(folder)).toEqual(["state.safetensors"]);
});

test("who wrote a file is told by number and start of the process, and only here", async () => {
  const folder = await temporaryDirectory();
  const own = temporaryName();
  const [where, pid, start, random] = own.slice(".te-save-".length, -".tmp".length).split("-");
  const name = (w: string, p: string, s: string) => `.te-save-${w}-${p}-${s}-${random!}.tmp`;
  const stay = [own, name("00000000", "4194305", "1"), ".te-save-notes.tmp", ".model.123.abcdef.tmp"];
  const go = [name(where!, pid!, "1"), name(where!, "4194305", start!), name("00000001", "1", "1")];
  for (const file of [...stay, ...go]) await writeFile(join(folder, file), "");
  const days = new Date(Date.now() - 2 * 24 * 3600 * 1000);
  await utimes(join(folder, go[2]!), days, days);
  await removeLeftovers(folder);
  expect((await readdir(folder)).sort()).toEqual([...stay].sort());
});

test("a worker that was terminated is dead, though its process lives", async () => {
  const folder = await temporaryDirectory();
  const thread = new Worker(
    `const { parentPort } = require("node:worker_threads");
     const { readFileSync, readlinkSync } = require("node:fs");
     const number = readlinkSync("/proc/thread-self").split("/").at(-1);
     parentPort.postMessage([number, readFileSync("/proc/" + number + "/stat", "utf8").split(") ")[1].split(" ")[19]]);
     setInterval(() => {}, 1000);`,
    { eval: true },
  );
  const [[number, start]] = (await once(thread, "message")) as [[string, string]];
  const [where, , , random] = temporaryName().slice(".te-save-".length, -".tmp".length).split("-");
  const name = `.te-save-${where}-${number}-${start}-${random}.tmp`;
  await writeFile(join(folder, name), "");
  await removeLeftovers(folder);
  expect(await readdir(folder)).toEqual([name]);
  await thread.terminate();
  await removeLeftovers(folder);
  expect(await readdir(folder)).toEqual([]);
});

test("a folder that cannot be listed harms nobody", async () => {
  await removeLeftovers("/no/such/folder");
  expect((await teErrorOf(() => writeSafetensors("/no/such/folder/a", { a: tensor([1]) }))).code).toBe("file");
});
