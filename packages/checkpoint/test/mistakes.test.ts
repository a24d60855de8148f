/** Paths and arguments that are none. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeSafetensors, encodeSafetensors, loadState, saveState, writeSafetensors } from "@te/checkpoint";
import { ones } from "@te/tensor";
import { expect, test } from "vitest";

test("a folder that does not exist", async () => {
  const path = join(tmpdir(), "te-no-such-folder", "a.safetensors");
  await expect(saveState(path, { step: 1 })).rejects.toThrow(/cannot be written: .*Make its folder first\./);
});

test("the state where the path should be", async () => {
  await expect(saveState({ step: 1 } as never, "a")).rejects.toThrow(/path must be the name of a file, got Object/);
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
