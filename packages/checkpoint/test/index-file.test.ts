/** Indices and their files: what is damaged is named, and a save that fails leaves the checkpoint that was there. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmod,
  mkdir,
  readdir,
  readFile,
  rename,
  stat,
  symlink,
  truncate,
  unlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { Mesh, NamedSharding, PartitionSpec } from "@te/sharding";
import { arange, tensor } from "@te/tensor";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { loadState, openSafetensors, saveState, writeSafetensors } from "../src/index.js";
import { scriptCommand, teErrorOf, temporaryDirectory } from "./helpers.js";
import { bitsOf, fileHandle, lieIn, shardingsFor, state } from "./meshes.js";

const INDEX = "state.safetensors.index.json";

/** A folder with a checkpoint of four files, and its files. */
async function checkpoint(): Promise<{ folder: string; path: string; shards: string[] }> {
  const folder = await temporaryDirectory();
  const path = join(folder, INDEX);
  await saveState(path, lieIn("fsdp4", state()));
  return { folder, path, shards: (await readdir(folder)).filter((name) => name !== INDEX).sort() };
}

describe("a damaged checkpoint is an error that names the file", () => {
  const at = (path: string, shard: string) => `loadState(${path}), ${shard}: `;
  const CASES: [string, (shard: string) => Promise<unknown>, RegExp][] = [
    ["missing", unlink, /cannot be opened: ENOENT: .* All files that an index names are needed\.$/],
    [
      "cut",
      async (shard) => truncate(shard, (await stat(shard)).size - 1),
      /the tensors need \d+ bytes after the header/,
    ],
    ["empty", (shard) => truncate(shard, 0), /a safetensors file has at least 8 bytes, got 0/],
    ["overwritten", (shard) => writeFile(shard, "x".repeat(4096)), /the header length must be at most/],
    ["a folder", (shard) => unlink(shard).then(() => mkdir(shard)), /must be that of a regular file/],
  ];
  test.each(CASES)("%s", async (_, damage, rule) => {
    const { folder, path, shards } = await checkpoint();
    await damage(join(folder, shards[1]!));
    const error = await teErrorOf(() => loadState(path));
    expect(error.message).toMatch(rule);
    expect([error.code, error.message.slice(0, at(path, shards[1]!).length)]).toEqual(["file", at(path, shards[1]!)]);
  });
});

describe("a byte that flipped is an error that names the file and the tensor", () => {
  test("wherever it is in the data", async () => {
    const { folder, path, shards } = await checkpoint();
    const shard = join(folder, shards[1]!);
    const good = await readFile(shard);
    const start = 8 + Number(good.readBigUInt64LE(0));
    expect(good.length).toBeGreaterThan(start);
    for (let at = start; at < good.length; at += 13) {
      const bad = Buffer.from(good);
      bad[at]! ^= 1 << (at % 8);
      await writeFile(shard, bad);
      const error = await teErrorOf(() => loadState(path));
      expect(error.message).toMatch(/: tensor "[\w/]+" is damaged: its checksum must be [0-9a-f]{8}, got [0-9a-f]{8}/);
      expect([error.code, error.message.includes(`loadState(${path}), ${shards[1]}: `)]).toEqual(["file", true]);
    }
    await writeFile(shard, good);
    expect(await bitsOf(await loadState(path))).toEqual(await bitsOf(state()));
  });

  test("also where parts of other shapes are read, of those that they have whole", async () => {
    const { folder, path, shards } = await checkpoint();
    const shard = join(folder, shards[1]!);
    const bytes = await readFile(shard);
    bytes[bytes.length - 1]! ^= 1;
    await writeFile(shard, bytes);
    const error = await teErrorOf(() => loadState(path, { shardings: shardingsFor("fsdp2") }));
    expect(error.message).toMatch(/is damaged/);
  });

  test("checksums that are none are refused, and files of others have none", async () => {
    const { folder, path, shards } = await checkpoint();
    const shard = join(folder, shards[1]!);
    const text = (await readFile(shard)).toString("latin1");
    await writeFile(shard, text.replace(/(te-crc32.{0,40}?:\\?")[0-9a-f]{8}/, "$1........"), "latin1");
    const error = await teErrorOf(() => loadState(path));
    expect(error.message).toMatch(/te-crc32 in the metadata must be an object of checksums of eight digits/);
    await writeFile(shard, text.replace("te-crc32", "xx-crc32"), "latin1");
    expect(await bitsOf(await loadState(path))).toEqual(await bitsOf(state()));
  });
});

describe("an index that does not say where tensors are is refused", () => {
  const file = "m-1.safetensors";
  const part = (start: unknown, of: unknown = file) => ({ file: of, start });
  const split = (shape: unknown, ...parts: unknown[]) => ({ weight_map: {}, split_map: { w: { shape, parts } } });
  const CASES: [string, unknown, RegExp][] = [
    ["no JSON", "{", /the index must be valid JSON/],
    ["no object", [], /must be a JSON object with a weight_map/],
    ["no map", { metadata: {} }, /must be a JSON object with a weight_map/],
    [
      "a map that is a list",
      { weight_map: {}, split_map: [] },
      /metadata and split_map of an index must be JSON objects/,
    ],
    ["a file elsewhere", { weight_map: { w: "../m-1.safetensors" } }, /must name files beside it, got \.\.\/m-1/],
    ["no file name", { weight_map: { w: 3 } }, /must name files beside it, got 3/],
    ["files of PyTorch", { weight_map: { w: "m.bin" } }, /must be safetensors files, got m\.bin\. Convert it once/],
    ["a tensor that the file has not", { weight_map: { v: file } }, /says that m-1\.safetensors has tensor "v"/],
    ["a tensor twice", '{"weight_map": {"w": "a.safetensors", "w": "b.safetensors"}}', /must occur once/],
    ["whole and in parts", { ...split([2], part([0])), weight_map: { w: file } }, /either whole or in parts/],
    ["no shape", split("2", part([0])), /must give "w" a shape and parts/],
    ["no parts", split([2]), /must give "w" a shape and parts/],
    ["a start of another rank", split([2], part([0, 0])), /must have a file and a start of 1 sizes/],
    ["a gap", split([4], part([0])), /must fill the shape \[4\] without gap or overlap/],
    ["an overlap", split([4], part([0]), part([0])), /must fill the shape \[4\] without gap or overlap/],
    ["a place between", split([4], part([0]), part([1])), /must fill the shape \[4\] without gap or overlap/],
    ["a place outside", split([4], part([0]), part([4])), /must fill the shape \[4\] without gap or overlap/],
    ["several types", split([4], part([0]), part([2], "m-2.safetensors")), /all parts of "w" must be F32/],
    ["another rank than the file's", split([2, 1], part([0, 0])), /must fill the shape \[2,1\]/],
  ];
  test.each(CASES)("%s", async (_, content, rule) => {
    const folder = await temporaryDirectory();
    await writeSafetensors(join(folder, file), { w: tensor([1, 2]) });
    await writeSafetensors(join(folder, "m-2.safetensors"), { w: arange(2) });
    const path = join(folder, "m.safetensors.index.json");
    await writeFile(path, typeof content === "string" ? content : JSON.stringify(content));
    const error = await teErrorOf(() => openSafetensors(path));
    expect(error.message).toMatch(rule);
    expect([error.code, error.message.startsWith(`openSafetensors(${path}): `)]).toEqual(["file", true]);
  });

  test("a state needs what saveState wrote", async () => {
    const path = join(await temporaryDirectory(), INDEX);
    await writeSafetensors(path, { w: tensor([1]) });
    expect((await teErrorOf(() => loadState(path))).message).toMatch(/must say format "te-state"/);
  });
});

describe("a save that fails leaves the checkpoint that was there, and nothing else", () => {
  test("a disk that is full at any write", async () => {
    const { folder, path } = await checkpoint();
    const before = (await readdir(folder)).sort();
    const { prototype, write } = await fileHandle();
    let left = 0;
    const spy = vi.spyOn(prototype, "write").mockImplementation(function (this: typeof prototype, ...args: unknown[]) {
      if (left-- === 0) throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
      return (write as (...args: unknown[]) => never).apply(this, args);
    });
    onTestFinished(() => spy.mockRestore());
    const next = { ...state(), step: 6 };
    let failures = 0;
    for (let at = 0; ; at++) {
      left = at;
      const error = await saveState(path, lieIn("2x2", next)).catch((error) => error);
      if (!error) break;
      failures++;
      expect(error.message).toMatch(/^saveState\(.*\): cannot be written: ENOSPC.* Make room on the disk/);
      expect((await readdir(folder)).sort()).toEqual(before);
      expect(await loadState(path)).toMatchObject({ step: 5 });
    }
    // Headers and parts of four files, and the index.
    expect(failures).toBeGreaterThan(4 * 3);
    expect(await loadState(path)).toMatchObject({ step: 6 });
    expect((await readdir(folder)).filter((name) => before.includes(name))).toEqual([INDEX]);
  });

  test("a tensor that is gone", async () => {
    const { folder, path } = await checkpoint();
    const before = (await readdir(folder)).sort();
    const gone = tensor([1]);
    gone.dispose();
    expect((await teErrorOf(() => saveState(path, { ...lieIn("fsdp4", state()), gone }))).code).toBe("disposed");
    expect((await readdir(folder)).sort()).toEqual(before);
    expect(await bitsOf(await loadState(path))).toEqual(await bitsOf(state()));
  });

  test("a process that is killed in the middle: the next save removes what it left", async () => {
    const { folder, path } = await checkpoint();
    const before = (await readdir(folder)).sort();
    const [command, args] = scriptCommand(
      `const t = tensor(new Float32Array(1 << 16));
       t.data = () => (console.log("half way"), new Promise(() => setInterval(() => {}, 1000)));
       await saveState(process.argv[1], { a: tensor([1]), t });`,
      [path],
    );
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    await once(child.stdout!, "data");
    expect(await readdir(folder)).toHaveLength(before.length + 1);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(await bitsOf(await loadState(path))).toEqual(await bitsOf(state()));
    expect((await readdir(folder)).sort()).toEqual(before);
  });
});

describe("a save under the name of another", () => {
  test("takes its place and removes its files, and those that a killed one left a day ago, and no others", async () => {
    const { folder, path } = await checkpoint();
    const [lost, fresh] = ["11111111", "22222222"].map((id) => `state-${id}-00001-of-00004.safetensors`);
    const others = ["state.safetensors", "state-of-mine.safetensors", "other-11111111-00001-of-00004.safetensors"];
    for (const name of [lost!, fresh!, ...others]) await writeFile(join(folder, name), "");
    const days = new Date(Date.now() - 2 * 24 * 3600 * 1000);
    for (const name of [lost!, ...others]) await utimes(join(folder, name), days, days);
    await saveState(path, { step: 6, w: tensor([1]) });
    const after = (await readdir(folder)).filter((name) => ![INDEX, fresh, ...others].includes(name));
    expect(after).toEqual([expect.stringMatching(/^state-[0-9a-f]{8}-00001-of-00001\.safetensors$/)]);
    expect(await readdir(folder)).toEqual(expect.arrayContaining([fresh, ...others]));
  });

  test("several at once: the last one stands", async () => {
    const { folder, path } = await checkpoint();
    await Promise.all([6, 7, 8].map((step) => saveState(path, { ...lieIn("tp4", state()), step })));
    expect(await loadState(path)).toMatchObject({ step: 8 });
    expect(await readdir(folder)).toHaveLength(5);
  });

  test("keeps the mode for all of its files, and a link to it stays one", async () => {
    const { folder, path } = await checkpoint();
    await chmod(path, 0o600);
    await mkdir(join(folder, "runs"));
    await rename(path, join(folder, "runs", "step-1.safetensors.index.json"));
    await symlink("runs/step-1.safetensors.index.json", path);
    await saveState(path, lieIn("fsdp3", state()));
    const files = await readdir(join(folder, "runs"));
    expect(files).toHaveLength(4);
    for (const file of files) expect((await stat(join(folder, "runs", file))).mode & 0o777, file).toBe(0o600);
    expect(files.filter((file) => file.startsWith("step-1-"))).toHaveLength(3);
    expect(await bitsOf(await loadState(path))).toEqual(await bitsOf(state()));
  });
});

test("links to the files of a model, as caches have them, lie beside the link to its index", async () => {
  const folder = await temporaryDirectory();
  for (const name of ["blobs", "snapshot"]) await mkdir(join(folder, name));
  await writeSafetensors(join(folder, "blobs/b1"), { w: arange(3) });
  await writeFile(join(folder, "blobs/b2"), JSON.stringify({ weight_map: { w: "m-1.safetensors" } }));
  await symlink("../blobs/b1", join(folder, "snapshot/m-1.safetensors"));
  await symlink("../blobs/b2", join(folder, "snapshot/m.safetensors.index.json"));
  await using file = await openSafetensors(join(folder, "snapshot/m.safetensors.index.json"));
  expect(await (await file.read("w")).toArray()).toEqual([0, 1, 2]);
});

test("types of less than a byte are read as a whole", async () => {
  const path = join(await temporaryDirectory(), "small.safetensors");
  const header = JSON.stringify({ w: { dtype: "F4", shape: [2, 2], data_offsets: [0, 2] } });
  const bytes = new Uint8Array(8 + header.length + 2);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(new TextEncoder().encode(header), 8);
  bytes.set([0x21, 0x43], 8 + header.length);
  await writeFile(path, bytes);
  await using file = await openSafetensors(path);
  const mesh = new Mesh({ data: 2 });
  expect(await (await file.read("w", { sharding: new NamedSharding(mesh, new PartitionSpec()) })).toArray()).toEqual([
    [0.5, 1],
    [1.5, 2],
  ]);
  const split = new NamedSharding(mesh, new PartitionSpec("data"));
  const error = await teErrorOf(() => file.read("w", { sharding: split }));
  expect([error.code, error.message]).toEqual(["unsupported", expect.stringContaining("is read as a whole")]);
});

test("other types are converted part by part", async () => {
  const path = join(await temporaryDirectory(), "wide.safetensors");
  const header = JSON.stringify({ w: { dtype: "F64", shape: [4], data_offsets: [0, 32] } });
  const bytes = new Uint8Array(8 + header.length + 32);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(new TextEncoder().encode(header), 8);
  bytes.set(new Uint8Array(new Float64Array([1, 2, 3, 4]).buffer), 8 + header.length);
  await writeFile(path, bytes);
  await using file = await openSafetensors(path);
  const sharding = new NamedSharding(new Mesh({ data: 2 }), new PartitionSpec("data"));
  const w = await file.read("w", { sharding, dtype: "float32" });
  expect([await w.toArray(), w.addressableShards.map(({ index }) => index)]).toEqual([
    [1, 2, 3, 4],
    [[[0, 2]], [[2, 4]]],
  ]);
});
