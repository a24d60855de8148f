/** States over meshes: saved on one they load on any other, with the same bits, and what is read is what they hold. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { devicePut, Mesh, NamedSharding, PartitionSpec } from "@te/sharding";
import { arange } from "@te/tensor";
import { bytesOf } from "@te/tensor/op";
import { describe, expect, test } from "vitest";
import { loadState, openSafetensors, saveState, writeSafetensors } from "../src/index.js";
import { bridged, runsOf, wholeOf } from "../src/safetensors/blocks.js";
import { teErrorOf, temporaryDirectory, watchReads } from "./helpers.js";
import { bitsOf, lieIn, type State, shardingsFor, specsOf, state, tensorsOf, WAYS } from "./meshes.js";

const INDEX = "state.safetensors.index.json";
const ways = Object.keys(WAYS);
const over = (axes: Record<string, number>, ...entries: (string | null)[]) =>
  new NamedSharding(new Mesh(axes), new PartitionSpec(...entries));
const sumOf = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
const bytesIn = (of: State): number => sumOf(tensorsOf(of).map(([, x]) => x.size * bytesOf(x.dtype)));

/** Saves the state as it lies in a way; gives the path. */
async function saved(way: string): Promise<string> {
  const path = join(await temporaryDirectory(), INDEX);
  await saveState(path, lieIn(way, state()));
  return path;
}

/** Bytes of the tensors of each file of an index, by file. */
async function filesOf(path: string): Promise<Map<string, number>> {
  const { weight_map: map, split_map: split = {} } = JSON.parse(await readFile(path, "utf8"));
  const parts = Object.values(split as Record<string, { parts: { file: string }[] }>).flatMap(({ parts }) => parts);
  const sizes = new Map<string, number>();
  for (const name of [...Object.values(map as Record<string, string>), ...parts.map(({ file }) => file)]) {
    await using file = await openSafetensors(join(path, "..", name));
    sizes.set(name, sumOf(file.names.map((of) => file.info(of).bytes)));
  }
  return sizes;
}

describe.each(ways)("saved on %s", (from) => {
  test.each(ways)("loads on %s", async (to) => {
    const path = await saved(from);
    const wanted = lieIn(to, state());
    const reads = await watchReads();
    const loaded = await loadState<State>(path, WAYS[to] ? { shardings: shardingsFor(to) } : {});
    // Headers begin at 0 and at 8; all other bytes are read once, however many devices hold them.
    const ofTensors = reads.filter(([position]) => position > 8);
    const read = sumOf(ofTensors.map(([, bytes]) => bytes));
    // Of parts with narrow gaps between them the gaps too, but no more than there is for each device.
    const isSplit = to !== "one device" && to !== "dp4";
    expect(read).toBeGreaterThanOrEqual(bytesIn(wanted));
    expect(read).toBeLessThanOrEqual(bytesIn(wanted) * (isSplit ? WAYS[to]!.mesh.size : 1));

    expect(await bitsOf(loaded)).toEqual(await bitsOf(state()));
    expect(specsOf(loaded)).toEqual(specsOf(wanted));
    expect([loaded.step, loaded.optimizer[1]]).toEqual([5, null]);
    const shards = (of: State) =>
      Promise.all(tensorsOf(of).flatMap(([, x]) => x.addressableShards.map((shard) => shard.data())));
    expect(await shards(loaded)).toEqual(await shards(wanted));
  });

  test("has each byte in one file, and a file for each device", async () => {
    const path = await saved(from);
    const sizes = await filesOf(path);
    expect(sizes.size).toBe(WAYS[from]?.mesh.size ?? 1);
    expect((await readdir(join(path, ".."))).sort()).toEqual([...sizes.keys(), INDEX].sort());
    const total = bytesIn(state());
    expect(sumOf([...sizes.values()])).toBe(total);
    expect(JSON.parse(await readFile(path, "utf8")).metadata.total_size).toBe(total);
  });
});

test("a state loads as its template lies, and shardings come before it", async () => {
  const path = await saved("fsdp4");
  const template = lieIn("2x2", state());
  expect(specsOf(await loadState(path, { template }))).toEqual(specsOf(template));
  const sharding = over({ all: 3 }, "all");
  const loaded = await loadState<State>(path, { template, shardings: { params: { kernel: sharding, narrow: null } } });
  expect(String(loaded.params.kernel.sharding?.mesh)).toBe("Mesh(all=3)");
  expect(String(loaded.params.narrow.sharding)).toBe(String(template.params.narrow.sharding));
  expect(await bitsOf(loaded)).toEqual(await bitsOf(state()));
});

test("one sharding stands for all of a state, and a file without an index loads on a mesh too", async () => {
  const path = join(await temporaryDirectory(), "state.safetensors");
  await saveState(path, lieIn("fsdp4", state()));
  const whole = over({ data: 2 });
  const loaded = await loadState<State>(path, { shardings: whole });
  expect(new Set(tensorsOf(loaded).map(([, x]) => String(x.sharding?.mesh)))).toEqual(new Set(["Mesh(data=2)"]));
  expect(await bitsOf(loaded)).toEqual(await bitsOf(state()));
});

describe("of a part of a tensor the ranges are read that hold it", () => {
  const kernel = arange(96).reshape([12, 8]);
  const open = async (sharding: NamedSharding) => {
    const path = join(await temporaryDirectory(), "model.safetensors.index.json");
    await writeSafetensors(path, { kernel: devicePut(kernel, sharding) });
    return openSafetensors(path);
  };

  test.each([
    ["columns of rows", over({ fsdp: 3 }, "fsdp"), over({ tensor: 2 }, null, "tensor"), 6, [128]],
    ["rows of rows", over({ fsdp: 3 }, "fsdp"), over({ fsdp: 2 }, "fsdp"), 4, [128, 64]],
    ["rows of columns", over({ tensor: 2 }, null, "tensor"), over({ fsdp: 3 }, "fsdp"), 6, [64]],
    ["columns of all", over({ data: 2 }), over({ tensor: 4 }, null, "tensor"), 4, [384]],
    ["blocks of the same", over({ a: 2, b: 2 }, "a", "b"), over({ a: 2, b: 2 }, "a", "b"), 4, [96]],
  ])("%s", async (_, from, to, count, sizes) => {
    await using file = await open(from);
    const reads = await watchReads();
    const y = await file.read("kernel", { sharding: to });
    expect(reads.length).toBe(count);
    expect([...new Set(reads.map(([, bytes]) => bytes))].sort()).toEqual([...sizes].sort());
    expect(await y.data()).toEqual(await kernel.data());
    expect(String(y.sharding?.mesh)).toBe(String(to.mesh));
  });
});

test("of columns with wide gaps between them each is read for itself, of narrow ones all at once", async () => {
  const path = join(await temporaryDirectory(), "model.safetensors.index.json");
  const x = arange(4 * 12288).reshape([4, 12288]);
  await writeSafetensors(path, { x });
  await using file = await openSafetensors(path);
  const reads = await watchReads();
  const of = over({ tensor: 3 }, null, "tensor");
  expect(await (await file.read("x", { sharding: of })).data()).toEqual(await x.data());
  expect(reads.map(([, bytes]) => bytes)).toEqual(new Array(12).fill(4096 * 4));
  reads.length = 0;
  expect(await (await file.read("x", { sharding: over({ tensor: 2 }, null, "tensor") })).data()).toEqual(
    await x.data(),
  );
  expect(reads.map(([, bytes]) => bytes)).toEqual(new Array(8).fill(6144 * 4));
});

test("gaps are read where runs are many and close", () => {
  const block = wholeOf([4, 6, 5]);
  const of = (start: number[], shape: number[], most: number) => bridged(block, { start, shape }, most);
  expect(of([1, 2, 1], [2, 3, 2], 2)).toEqual({ start: [1, 2, 1], shape: [2, 3, 2] });
  expect(of([1, 2, 1], [2, 3, 2], 3)).toEqual({ start: [1, 2, 0], shape: [2, 3, 5] });
  expect(of([1, 2, 1], [2, 3, 2], 15)).toEqual({ start: [1, 0, 0], shape: [2, 6, 5] });
  expect(of([1, 2, 1], [1, 3, 2], 15)).toEqual({ start: [1, 2, 0], shape: [1, 3, 5] });
  expect(of([1, 2, 1], [1, 1, 2], 15)).toEqual({ start: [1, 2, 1], shape: [1, 1, 2] });
});

test("long runs are cut", () => {
  const runs = [...runsOf(wholeOf([2, 5, 3]), { start: [1, 0, 0], shape: [1, 5, 3] }, 6)];
  expect(runs).toEqual([
    { start: [1, 0, 0], shape: [1, 2, 3] },
    { start: [1, 2, 0], shape: [1, 2, 3] },
    { start: [1, 4, 0], shape: [1, 1, 3] },
  ]);
  expect([...runsOf(wholeOf([2, 3]), wholeOf([2, 3]), 1)]).toHaveLength(6);
  expect([...runsOf(wholeOf([]), wholeOf([]), 1)]).toEqual([wholeOf([])]);
});

test("an index of whole tensors is that of Hugging Face", async () => {
  const path = join(await temporaryDirectory(), "model.safetensors.index.json");
  const [a, b] = [arange(6), arange(4)].map((x) => devicePut(x, over({ data: 2 })));
  await writeSafetensors(path, { a: a!, b: b! }, { format: "pt" });
  const index = JSON.parse(await readFile(path, "utf8"));
  expect(index).toEqual({
    metadata: { total_size: 40, format: "pt" },
    weight_map: {
      a: expect.stringMatching(/^model-[0-9a-f]{8}-00001-of-00002\.safetensors$/),
      b: expect.stringMatching(/^model-[0-9a-f]{8}-00002-of-00002\.safetensors$/),
    },
  });
  await using shard = await openSafetensors(join(path, "..", index.weight_map.b));
  expect([shard.names, shard.metadata]).toEqual([["b"], { format: "pt" }]);
  await using all = await openSafetensors(path);
  expect([all.names, all.metadata]).toEqual([["a", "b"], { format: "pt" }]);
  expect(all.info("a")).toEqual({ shape: [6], dtype: "int32", storedType: "I32", bytes: 24 });
  expect(await (await all.readAll()).b!.data()).toEqual(await b!.data());
});

describe("shardings that do not fit are refused before anything is read", () => {
  const split = over({ three: 3 }, "three");
  test.each([
    ["a name that is not there", { params: { kernels: split } }, "option", /name params\/kernels, which is not in the/],
    ["a list for a record", [split], "option", /must be those of the state: the root is a record/],
    ["parts of a tensor", { key: { a: split } }, "option", /must be those of the state: key is a tensor/],
    ["no sharding", { key: 3 }, "option", /must be those of the state: key is a tensor, got 3/],
    ["a dimension that does not divide", { params: { stacked: split } }, "shape", /params\/stacked: .* multiple of 3/],
    ["more dimensions than there are", { optimizer: [split] }, "shape", /optimizer\/0\/count: .* 1 dimensions/],
  ])("%s", async (_, shardings, code, message) => {
    const path = await saved("fsdp4");
    const error = await teErrorOf(() => loadState(path, { shardings: shardings as never }));
    expect(error.message).toMatch(message);
    expect([error.code, error.message.startsWith(`loadState(${path})`)]).toEqual([code, true]);
  });

  test("no NamedSharding for a tensor", async () => {
    await using file = await openSafetensors(await saved("fsdp4"));
    const error = await teErrorOf(() => file.read("key", { sharding: "data" as never }));
    expect(error.message).toMatch(/sharding must be a NamedSharding, got data/);
  });
});
