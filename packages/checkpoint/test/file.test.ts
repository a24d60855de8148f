/** Safetensors on disk: reads by range, errors that name the path, and writes that fail without a trace. */
import { mkdir, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Tensor, tensor } from "@te/tensor";
import { describe, expect, test } from "vitest";
import { encodeSafetensors, openSafetensors, writeSafetensors } from "../src/index.js";
import { fileOf, teErrorOf, temporaryDirectory } from "./helpers.js";

describe("write, then open", () => {
  test("reads single tensors by range", async () => {
    const path = join(await temporaryDirectory(), "model.safetensors");
    await writeSafetensors(
      path,
      {
        w: tensor([
          [1, 2],
          [3, 4],
        ]),
        flags: tensor([true, false]),
      },
      { step: "7" },
    );
    await using file = await openSafetensors(path);
    expect(file.names).toEqual(["flags", "w"]);
    expect(file.metadata).toEqual({ step: "7" });
    expect(file.has("w")).toBe(true);
    expect(file.info("w")).toEqual({ shape: [2, 2], dtype: "float32", storedType: "F32", bytes: 16 });
    const [w, flags] = await Promise.all([file.read("w"), file.read("flags")]);
    expect(await w.toArray()).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(await flags.toArray()).toEqual([true, false]);
    expect(Object.keys(await file.readAll())).toEqual(["flags", "w"]);
  });

  test("writes the bytes that encodeSafetensors gives", async () => {
    const path = join(await temporaryDirectory(), "model.safetensors");
    const tensors = { a: tensor(new Uint8Array(5)), b: tensor([1, 2]), empty: tensor([], { shape: [0, 3] }) };
    await writeSafetensors(path, tensors, { k: "v" });
    expect(new Uint8Array(await readFile(path))).toEqual(await encodeSafetensors(tensors, { k: "v" }));
  });

  test("opening reads the header only: the data may be a hole in the file", async () => {
    const path = join(await temporaryDirectory(), "sparse.safetensors");
    const gib = 2 ** 30;
    const header = {
      big: { dtype: "U8", shape: [64, gib], data_offsets: [0, 64 * gib] },
      small: { dtype: "U8", shape: [1], data_offsets: [64 * gib, 64 * gib + 1] },
    };
    const start = fileOf(header);
    await writeFile(path, start);
    await truncate(path, start.length + 64 * gib + 1);
    await using file = await openSafetensors(path);
    expect(file.info("big").bytes).toBe(64 * gib);
    expect(await (await file.read("small")).toArray()).toEqual([0]);
  });

  test("a type that tensors do not have can be listed and read as bytes", async () => {
    const path = join(await temporaryDirectory(), "signal.safetensors");
    await writeFile(path, fileOf({ signal: { dtype: "C64", shape: [2], data_offsets: [0, 16] } }, 16));
    await using file = await openSafetensors(path);
    expect(file.info("signal")).toEqual({ shape: [2], dtype: undefined, storedType: "C64", bytes: 16 });
    expect(await file.readBytes("signal")).toEqual(new Uint8Array(16));
    expect((await teErrorOf(() => file.read("signal"))).code).toBe("unsupported");
  });
});

describe("errors name path, rule and value", () => {
  test("no such file", async () => {
    const path = join(await temporaryDirectory(), "missing.safetensors");
    const error = await teErrorOf(() => openSafetensors(path));
    expect(error.code).toBe("file");
    expect(error.message).toContain(path);
    expect(error.message).toContain("ENOENT");
  });

  test("a directory", async () => {
    expect((await teErrorOf(async () => openSafetensors(await temporaryDirectory()))).code).toBe("file");
  });

  test("a truncated file", async () => {
    const path = join(await temporaryDirectory(), "cut.safetensors");
    await writeSafetensors(path, { w: tensor([1, 2, 3]) });
    await truncate(path, (await readFile(path)).length - 1);
    const error = await teErrorOf(() => openSafetensors(path));
    expect(error.message).toBe(`openSafetensors(${path}): the tensors need 12 bytes after the header, got 11 bytes.`);
  });

  test("a file that is truncated after it was opened", async () => {
    const path = join(await temporaryDirectory(), "cut.safetensors");
    await writeSafetensors(path, { w: tensor([1, 2, 3]) });
    await using file = await openSafetensors(path);
    await truncate(path, (await readFile(path)).length - 1);
    const error = await teErrorOf(() => file.read("w"));
    expect(error.message).toBe(`openSafetensors(${path}): tensor "w" needs 12 bytes, got 11.`);
  });

  test("an unknown name, and reading after close", async () => {
    const path = join(await temporaryDirectory(), "model.safetensors");
    await writeSafetensors(path, { w: tensor([1]) });
    const file = await openSafetensors(path);
    expect((await teErrorOf(() => file.read("v"))).message).toContain('there is no tensor "v" in the file');
    expect((await teErrorOf(() => file.info("toString"))).code).toBe("file");
    await file.close();
    await file.close();
    expect((await teErrorOf(() => file.read("w"))).code).toBe("disposed");
  });
});

test("a tensor that memory does not hold is an error that says so", async () => {
  const path = join(await temporaryDirectory(), "huge.safetensors");
  const tib = 2 ** 40;
  const start = fileOf({ huge: { dtype: "U8", shape: [8, tib], data_offsets: [0, 8 * tib] } });
  await writeFile(path, start);
  await truncate(path, start.length + 8 * tib);
  await using file = await openSafetensors(path);
  const error = await teErrorOf(() => file.read("huge"));
  expect(error.code).toBe("memory");
  expect(error.message).toMatch(
    /tensor "huge" must fit into memory and one array, but needs 8796093022208 bytes\. Free/,
  );
});

describe("a write that fails", () => {
  const failing = (): Tensor => {
    const t = tensor([1, 2]);
    t.dispose();
    return t;
  };

  test("leaves the old file as it was and no other behind", async () => {
    const directory = await temporaryDirectory();
    const path = join(directory, "model.safetensors");
    await writeSafetensors(path, { w: tensor([1]) });
    const before = await readFile(path);
    const error = await teErrorOf(() => writeSafetensors(path, { a: tensor([1]), b: failing() }));
    expect(error.code).toBe("disposed");
    expect(await readFile(path)).toEqual(before);
    expect(await readdir(directory)).toEqual(["model.safetensors"]);
  });

  test("leaves nothing behind when the target cannot be replaced", async () => {
    const directory = await temporaryDirectory();
    const path = join(directory, "occupied");
    await mkdir(join(path, "by a directory"), { recursive: true });
    const error = await teErrorOf(() => writeSafetensors(path, { w: tensor([1]) }));
    expect(error.code).toBe("file");
    expect(error.message).toContain(path);
    expect(await readdir(directory)).toEqual(["occupied"]);
  });

  test("says which path when the directory is missing", async () => {
    const path = join(await temporaryDirectory(), "missing", "model.safetensors");
    const error = await teErrorOf(() => writeSafetensors(path, { w: tensor([1]) }));
    expect(error.code).toBe("file");
    expect(error.message).toContain(path);
  });

  test("writers of one path do not disturb each other", async () => {
    const directory = await temporaryDirectory();
    const path = join(directory, "model.safetensors");
    await Promise.all(
      Array.from({ length: 8 }, (_, i) => writeSafetensors(path, { w: tensor(new Uint8Array(4096).fill(i)) })),
    );
    await using file = await openSafetensors(path);
    expect(new Set((await file.read("w")).dataSync()).size).toBe(1);
    expect(await readdir(directory)).toEqual(["model.safetensors"]);
  });
});
