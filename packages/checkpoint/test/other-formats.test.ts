/** Files of other formats are named as what they are. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { decodeSafetensors, encodeSafetensors, loadState, openSafetensors } from "../src/index.js";
import { fileOf, teErrorOf, temporaryDirectory } from "./helpers.js";

const latin1 = (text: string): Uint8Array => Buffer.from(text.padEnd(64), "latin1");
const index = JSON.stringify(
  { metadata: { total_size: 548118077 }, weight_map: { "wte.weight": "model-00001-of-00002.safetensors" } },
  null,
  2,
);

test.each<[string, Uint8Array, RegExp]>([
  ["index.json", latin1(index), /got the index of a model in several files\. Give openSafetensors its path/],
  [
    "config.json",
    latin1('{\n  "architectures": ["GPT2LMHeadModel"]\n}'),
    /got JSON text\. Name the \.safetensors file/,
  ],
  [
    "pytorch_model.bin",
    latin1("PK\x03\x04\x00\x00\x08\x08archive/data.pkl"),
    /got a zip archive, as PyTorch's \.bin .* safetensors\.torch\.save_file/,
  ],
  ["old.bin", latin1("\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."), /got a Python pickle/],
  ["model.gguf", latin1("GGUF\x03\x00\x00\x00"), /got a GGUF file/],
  ["weights.npy", latin1("\x93NUMPY\x01\x00v\x00"), /got a \.npy file/],
  ["weights.h5", latin1("\x89HDF\r\n\x1a\n"), /got an HDF5 file/],
  ["pointer", latin1("version https://git-lfs.github.com/spec/v1\noid sha256:0"), /Git LFS.*git lfs pull/],
  ["page", latin1("<!DOCTYPE html><html>"), /got a web page/],
  ["model.safetensors.gz", gzipSync("x").fill(1, 4, 8), /compressed by gzip/],
])("%s", async (name, bytes, said) => {
  const path = join(await temporaryDirectory(), name);
  await writeFile(path, bytes);
  for (const read of [() => openSafetensors(path), () => loadState(path), () => decodeSafetensors(bytes)]) {
    const error = await teErrorOf(read);
    expect(error.code).toBe("file");
    expect(error.message).toMatch(said);
    expect(error.message).toMatch(/the file must be a safetensors file, got /);
  }
});

test("a length that looks like magic bytes is a length", async () => {
  const header = (length: number) => fileOf("{}".padEnd(length));
  for (const length of [0x0280, 0x0580, 0x8b1f])
    expect(decodeSafetensors(header(length)).tensors, length.toString(16)).toEqual({});
  expect(decodeSafetensors(await encodeSafetensors({})).tensors).toEqual({});
});
