/** Types of the format that tensors do not have: read where a dtype holds them, on request where not, never in the way. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runInNewContext } from "node:vm";
import { type DType, TeError, tensor } from "@te/tensor";
import { describe, expect, test } from "vitest";
import { decodeSafetensors, openSafetensors, type StoredType, writeSafetensors } from "../src/index.js";
import { fileOf, teErrorOf, temporaryDirectory } from "./helpers.js";

/** A file of tensors, one after the other, whose data begin wherever the header ends. */
function fileWith(
  tensors: Record<string, [type: StoredType, shape: number[], data: ArrayBufferView]>,
  pad = 0,
): Uint8Array {
  let end = 0;
  const header = Object.fromEntries(
    Object.entries(tensors).map(([name, [dtype, shape, { byteLength }]]) => {
      end += byteLength;
      return [name, { dtype, shape, data_offsets: [end - byteLength, end] }];
    }),
  );
  const file = fileOf(JSON.stringify(header) + " ".repeat(pad), end);
  let at = file.length - end;
  for (const [, , data] of Object.values(tensors)) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return file;
}

const valuesOf = async (file: Uint8Array, name = "x", options = {}): Promise<[DType, ...number[]]> => {
  const found = decodeSafetensors(file, options).tensors[name]!;
  return [found.dtype, ...(await found.values())];
};

describe("without asking", () => {
  const f8 = (codes: number[]) => Uint8Array.from(codes);
  const CASES: [StoredType, ArrayBufferView, number, [DType, ...number[]]][] = [
    ["I8", Int8Array.of(-128, 0, 127), 3, ["int32", -128, 0, 127]],
    ["I16", Int16Array.of(-32768, 0, 32767), 3, ["int32", -32768, 0, 32767]],
    ["U16", Uint16Array.of(0, 0x3f80, 65535), 3, ["int32", 0, 0x3f80, 65535]],
    ["I64", BigInt64Array.of(-(2n ** 31n), -1n, 0n, 2n ** 31n - 1n), 4, ["int32", -2147483648, -1, 0, 2147483647]],
    ["U64", BigUint64Array.of(0n, 2n ** 31n - 1n), 2, ["int32", 0, 2147483647]],
    [
      "F8_E4M3FNUZ",
      f8([0, 0x01, 0x08, 0x40, 0x7f, 0xc0, 0x80]),
      7,
      ["float32", 0, 2 ** -10, 2 ** -7, 1, 240, -1, Number.NaN],
    ],
    [
      "F8_E5M2FNUZ",
      f8([0, 0x01, 0x04, 0x40, 0x7f, 0xc0, 0x80]),
      7,
      ["float32", 0, 2 ** -17, 2 ** -15, 1, 57344, -1, Number.NaN],
    ],
    ["F4", f8([0x10, 0x32, 0x54, 0x76, 0xf9]), 10, ["float32", 0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.5, -6]],
    // The codes 0b000001, 0b011111, 0b100001, 0b001000 one after the other from the lowest bit up.
    ["F6_E2M3", f8([0xc1, 0x17, 0x22]), 4, ["float32", 0.125, 7.5, -0.125, 1]],
    ["F6_E3M2", f8([0xc1, 0x17, 0x22]), 4, ["float32", 0.0625, 28, -0.0625, 0.5]],
  ];
  test.each(CASES)("%s", async (type, data, length, want) => {
    const file = fileWith({ x: [type, [length], data] });
    expect(await valuesOf(file)).toEqual(want);
    const path = join(await temporaryDirectory(), "x.safetensors");
    await writeFile(path, file);
    await using opened = await openSafetensors(path);
    expect(opened.info("x")).toMatchObject({ dtype: want[0], storedType: type });
    expect([...(await (await opened.read("x")).values())]).toEqual(want.slice(1));
  });
});

describe("on request", () => {
  const asked: [StoredType, ArrayBufferView, DType, number[]][] = [
    ["F64", Float64Array.of(0.1, 1e300, -2), "float32", [Math.fround(0.1), Number.POSITIVE_INFINITY, -2]],
    ["F64", Float64Array.of(0.5, -1, 3), "bfloat16", [0.5, -1, 3]],
    ["I64", BigInt64Array.of(2n ** 40n, -(2n ** 40n), 7n), "float32", [2 ** 40, -(2 ** 40), 7]],
    ["I64", BigInt64Array.of(2n ** 40n, -(2n ** 40n), 7n), "int32", [2147483647, -2147483648, 7]],
    ["U64", BigUint64Array.of(2n ** 64n - 1n, 2n ** 32n - 1n, 1n), "uint32", [4294967295, 4294967295, 1]],
    ["U64", BigUint64Array.of(2n ** 64n - 1n, 2n ** 63n, 1n), "float32", [2 ** 64, 2 ** 63, 1]],
    ["F32", Float32Array.of(1, -2.5, 448), "float8_e4m3fn", [1, -2.5, 448]],
    ["BF16", Uint16Array.of(0x3f80, 0xc000, 0x4040), "float32", [1, -2, 3]],
    ["U16", Uint16Array.of(0x3f80, 1, 2), "bfloat16", [16256, 1, 2]],
    ["U8", Uint8Array.of(1, 2, 0x38), "float8_e4m3fn", [1, 2, 56]],
  ];
  test.each(asked)("%s %o as %s", async (type, data, dtype, want) => {
    const file = fileWith({ x: [type, [3], data] });
    expect(await valuesOf(file, "x", { convert: { [type]: dtype } })).toEqual([dtype, ...want]);
    const path = join(await temporaryDirectory(), "x.safetensors");
    await writeFile(path, file);
    await using opened = await openSafetensors(path);
    const read = await opened.read("x", { dtype });
    expect([read.dtype, ...(await read.values())]).toEqual([dtype, ...want]);
    const all = await opened.readAll({ convert: { [type]: dtype } });
    expect([...(await all.x!.values())]).toEqual(want);
  });

  test("for what is no type or no dtype is refused", async () => {
    const file = fileWith({ x: ["F32", [0], new Float32Array(0)] });
    for (const [convert, said] of [
      [{ f64: "float32" }, /convert must have types of the format as keys, got f64/],
      [{ F64: "f32" }, /dtype must be one of/],
      [null, /convert must be an object/],
    ] as const)
      expect((await teErrorOf(() => decodeSafetensors(file, { convert } as never))).message).toMatch(said);
    expect((await teErrorOf(() => decodeSafetensors(file, { dtype: "float32" } as never))).message).toMatch(
      /unknown option/,
    );
  });
});

describe("a tensor that no dtype holds", () => {
  const file = fileWith({
    complex: ["C64", [1], Float32Array.of(1, 2)],
    double: ["F64", [1], Float64Array.of(0.1)],
    long: ["I64", [2], BigInt64Array.of(1n, 2n ** 31n)],
    weight: ["F32", [2], Float32Array.of(1, 2)],
  });
  const reasons: Record<string, string> = {
    complex: 'tensor "complex": there is no tensor dtype for C64. Take its bytes with readBytes.',
    double:
      'tensor "double": no tensor dtype holds F64 exactly. Ask for one: { convert: { F64: "float32" } }, or { dtype: "float32" } where one tensor is read.',
    long: 'tensor "long": I64 elements must fit into int32 to be read without being asked for, got 2147483648 at 1. Ask for one: { convert: { I64: "float32" } }, or { dtype: "float32" } where one tensor is read.',
  };

  test("spoils no other, and says why when it is asked for", async () => {
    const { tensors, unreadable } = decodeSafetensors(file);
    expect(Object.keys(tensors)).toEqual(["weight"]);
    expect(await tensors.weight!.toArray()).toEqual([1, 2]);
    expect(Object.keys(unreadable!)).toEqual(["complex", "double", "long"]);
    for (const [name, reason] of Object.entries(reasons)) {
      expect(unreadable![name]!.message).toBe(`decodeSafetensors: ${reason}`);
      const error = await teErrorOf(() => tensors[name]);
      expect([error.code, error.message]).toEqual(["unsupported", `decodeSafetensors: ${reason}`]);
    }
    expect({ ...tensors }).toEqual({ weight: tensors.weight });
  });

  test("neither in a file that is read as a whole", async () => {
    const path = join(await temporaryDirectory(), "x.safetensors");
    await writeFile(path, file);
    await using opened = await openSafetensors(path);
    const all = await opened.readAll();
    expect(Object.keys(all)).toEqual(["weight"]);
    expect((await teErrorOf(() => all.long)).message).toBe(`openSafetensors(${path}): ${reasons.long}`);
    expect((await teErrorOf(() => opened.read("double"))).message).toContain(reasons.double);
    expect(opened.info("double").dtype).toBeUndefined();
    expect([...(await opened.readBytes("long"))].slice(8)).toEqual([0, 0, 0, 0x80, 0, 0, 0, 0]);
  });
});

describe("bytes that begin anywhere", () => {
  const types: [StoredType, ArrayBufferView][] = [
    ["F32", Float32Array.of(1, 2, 3)],
    ["BF16", Uint16Array.of(0x3f80, 0x4000, 0x4040)],
    ["I32", Int32Array.of(1, 2, 3)],
    ["I64", BigInt64Array.of(1n, 2n, 3n)],
    ["I16", Int16Array.of(1, 2, 3)],
  ];
  const makers: [string, (file: Uint8Array) => Uint8Array][] = [
    ["a Uint8Array", (file) => file],
    ["a Buffer", (file) => Buffer.from(file)],
    ["a window of a Buffer", (file) => Buffer.concat([Buffer.from("abc"), file]).subarray(3)],
    ["shared memory", (file) => Object.assign(new Uint8Array(new SharedArrayBuffer(file.length)), file) as Uint8Array],
    ["another realm", (file) => new (runInNewContext("Uint8Array"))(file)],
  ];
  test.each(makers)("%s", async (_, make) => {
    for (const [type, data] of types)
      for (let pad = 0; pad < 8; pad++) {
        const [, ...values] = await valuesOf(make(fileWith({ x: [type, [3], data] }, pad)));
        expect(values, `${type}, ${pad} spaces`).toEqual([1, 2, 3]);
      }
  });

  test("a decoded tensor keeps its own copy", async () => {
    const file = Buffer.from(fileWith({ x: ["F32", [1], Float32Array.of(1)] }));
    const { tensors } = decodeSafetensors(file);
    file.fill(0);
    expect(await tensors.x!.item()).toBe(1);
  });

  test("given away, they are an error", async () => {
    const file = fileWith({ x: ["F32", [1], Float32Array.of(1)] });
    structuredClone(file.buffer, { transfer: [file.buffer as ArrayBuffer] });
    expect((await teErrorOf(() => decodeSafetensors(file))).message).toMatch(
      /^decodeSafetensors: bytes must have its memory/,
    );
  });
});

test("metadata that is null is none, as in the original", async () => {
  const file = fileOf({ __metadata__: null, x: { dtype: "F32", shape: [], data_offsets: [0, 4] } }, 4);
  const { tensors, metadata } = decodeSafetensors(file);
  expect([metadata, await tensors.x!.item()]).toEqual([{}, 0]);
});

test("a file beyond 2 GiB is read by range, wherever its tensors are", async () => {
  const path = join(await temporaryDirectory(), "large.safetensors");
  const gib = 2 ** 30;
  await writeSafetensors(path, { tail: tensor([7]) });
  const header = {
    big: { dtype: "U8", shape: [5, gib], data_offsets: [0, 5 * gib] },
    tail: { dtype: "I64", shape: [1], data_offsets: [5 * gib, 5 * gib + 8] },
  };
  const start = fileOf(header);
  const { open } = await import("node:fs/promises");
  await using file = await open(path, "w");
  await file.write(start, 0, start.length, 0);
  await file.write(new Uint8Array(BigInt64Array.of(-7n).buffer), 0, 8, start.length + 5 * gib);
  await using opened = await openSafetensors(path);
  expect(await (await opened.read("tail")).toArray()).toEqual([-7]);
});

test("errors are TeErrors of this copy and of every other", () => {
  expect(TeError.is(decodeSafetensors(fileWith({ x: ["C64", [1], new Float32Array(2)] })).unreadable!.x)).toBe(true);
});
