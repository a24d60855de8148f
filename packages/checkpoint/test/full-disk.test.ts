/** A disk that is really full: a file system of 1 MiB, which is mounted for these tests where that is allowed. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { devicePut, Mesh, NamedSharding, PartitionSpec } from "@te/sharding";
import { arange, type Tensor } from "@te/tensor";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { saveState, writeSafetensors } from "../src/index.js";
import { teErrorOf } from "./helpers.js";

const folder = mkdtempSync(join(tmpdir(), "te-full-"));
const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "te-full", folder], { encoding: "utf8" });
const missing =
  mounted.status === 0 ? undefined : `no file system can be mounted here: ${mounted.stderr ?? "no mount"}`;
afterAll(() => {
  if (!missing) spawnSync("umount", [folder]);
  rmSync(folder, { recursive: true });
});

/** In two files: those of two devices. */
const halves = (x: Tensor): Tensor => devicePut(x, new NamedSharding(new Mesh({ a: 2 }), new PartitionSpec("a")));

/** All files of the folder with their bytes. */
const files = async (): Promise<object> =>
  Object.fromEntries(
    await Promise.all((await readdir(folder)).map(async (name) => [name, await readFile(join(folder, name))])),
  );

const WAYS: [string, string, (path: string, x: Tensor) => Promise<unknown>][] = [
  ["writeSafetensors", "x.safetensors", (path, x) => writeSafetensors(path, { x })],
  ["saveState", "x.safetensors", (path, x) => saveState(path, { x })],
  ["saveState", "x.safetensors.index.json", (path, x) => saveState(path, { x: halves(x) })],
];

describe.runIf(!missing)("a save for which the disk has no room", () => {
  afterEach(async () => {
    for (const name of await readdir(folder)) rmSync(join(folder, name));
  });

  test.each(WAYS)("%s of %s leaves what was there, and nothing else", async (name, file, save) => {
    const path = join(folder, file);
    await save(path, arange(1000));
    const before = await files();
    const { code, message } = await teErrorOf(() => save(path, arange(2 ** 19)));
    expect(code).toBe("file");
    expect(message).toMatch(/: cannot be written: ENOSPC: no space left on device, .*\. Make room on the disk/);
    expect(message.startsWith(`${name}(${folder}`)).toBe(true);
    expect(await files()).toEqual(before);
    await save(path, arange(2000)); // all that was taken is free again
  });
});

if (missing) test.skip(missing);
