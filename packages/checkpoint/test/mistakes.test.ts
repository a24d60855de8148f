/** Paths and arguments that are none. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  decodeSafetensors,
  encodeSafetensors,
  loadState,
  openSafetensors,
  saveState,
  writeAtomically,
  writeSafetensors,
} from "@te/checkpoint";
import { ones } from "@te/tensor";
import { expect, test } from "vitest";
import { teErrorOf, temporaryDirectory } from "./helpers.js";

test("a folder that does not exist", async () => {
  const path = join(tmpdir(), "te-no-such-folder", "a.safetensors");
  await expect(saveState(path, { step: 1 })).rejects.toThrow(/cannot be written: .*Make its folder first\./);
});

test("the state where the path should be", async () => {
  await expect(saveState({ step: 1 } as never, "a")).rejects.toThrow(/path must be the name of a file, got Object/);
});

test("lists with holes, which may be longer than a file", async () => {
  const sparse = { params: { list: new Array(2 ** 32 - 1) } };
  const error = await teErrorOf(() => saveState(join(tmpdir(), "te-never-written"), sparse));
  expect(error.message).toMatch(/^saveState\(.*\): the list at params\/list must have no holes, got \[undefined, /);
});

test("a template that is not an option", async () => {
  await expect(loadState("a", { params: 1 } as never)).rejects.toThrow(/loadState: unknown option params/);
});

test("trees where tensors by name should be", async () => {
  const path = join(tmpdir(), "te-never-written");
  for (const [value, got] of [
    [{ kernel: ones([1]) }, "Object"],
    [null, "null"],
    [undefined, "undefined"],
    [3, "3"],
  ] as const) {
    const rule = new RegExp(`"params" must be a tensor, got ${got}. Use saveState for trees`);
    await expect(encodeSafetensors({ params: value as never })).rejects.toThrow(rule);
    await expect(writeSafetensors(path, { params: value as never })).rejects.toThrow(rule);
  }
  for (const tensors of [null, undefined, [ones([1])], ones([1])])
    await expect(encodeSafetensors(tensors as never)).rejects.toThrow(/tensors must be an object of tensors by name/);
});

test("bytes that are none", () => {
  for (const bytes of [undefined, new ArrayBuffer(8), "{}"])
    expect(() => decodeSafetensors(bytes as never)).toThrow(/^decodeSafetensors: bytes must be a Uint8Array, got /);
});

test("anything in the place of anything is an error of the function that was called", async () => {
  const gone = new Uint8Array(4);
  structuredClone(gone.buffer, { transfer: [gone.buffer] });
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  const values = [undefined, null, 1.5, Symbol("s"), 3n, [], {}, circle, gone, new Map(), Object.create(null), () => 1];
  const path = join(await temporaryDirectory(), "a.safetensors");
  await writeSafetensors(path, { a: ones([1]) });
  const bytes = await encodeSafetensors({ a: ones([1]) });
  await using file = await openSafetensors(path);
  const calls: Record<string, (value: any) => unknown> = {
    "writeSafetensors, path": (value) => writeSafetensors(value, {}),
    "writeSafetensors, tensor": (value) => writeSafetensors(path, { a: value }),
    "writeAtomically, path": (value) => writeAtomically(value, ""),
    "writeAtomically, content": (value) => writeAtomically(path, value),
    "saveState, path": (value) => saveState(value, {}),
    "loadState, path": loadState,
    "openSafetensors, path": openSafetensors,
    "openSafetensors.read": (value) => file.read(value),
    "openSafetensors.info": (value) => file.info(value),
    "openSafetensors.readBytes": (value) => file.readBytes(value),
    "openSafetensors.read, dtype": (value) => value !== undefined && file.read("a", { dtype: value }),
    "encodeSafetensors, tensor": (value) => encodeSafetensors({ a: value }),
    "decodeSafetensors, bytes": decodeSafetensors,
    "decodeSafetensors, dtype": (value) => decodeSafetensors(bytes, { convert: { F64: value } }),
  };
  for (const [name, call] of Object.entries(calls))
    for (const value of values) {
      if (name.endsWith("dtype") && value === undefined) continue;
      const error = await teErrorOf(() => call(value));
      expect(error.message, name).toMatch(new RegExp(`^${name.split(/[,.]/)[0]}`));
    }
});
