/** Safetensors in memory: every bit survives, files of the original library decode, and damaged ones are refused. */
import { type DType, type Tensor, tensor } from "@te/tensor";
import { viewAs } from "@te/tensor/op";
import { describe, expect, test } from "vitest";
import { decodeSafetensors, encodeSafetensors } from "../src/index.js";
import { fileOf, teErrorOf } from "./helpers.js";

const bytesOf = (t: Tensor): number[] => [...new Uint8Array(t.dataSync().buffer)];

describe("what the safetensors library 0.8.0 wrote", () => {
  const file = Buffer.from(
    [
      "IAIAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJieSI6InNhZmV0ZW5zb3JzIn0sImxvbmciOnsiZHR5cGUiOiJJNjQiLCJzaGFw",
      "ZSI6WzFdLCJkYXRhX29mZnNldHMiOlswLDhdfSwiZW1wdHkiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6WzAsNF0sImRhdGFf",
      "b2Zmc2V0cyI6WzgsOF19LCJzY2FsYXIiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6W10sImRhdGFfb2Zmc2V0cyI6WzgsMTJd",
      "fSwidyI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpbMiwzXSwiZGF0YV9vZmZzZXRzIjpbMTIsMzZdfSwiaSI6eyJkdHlwZSI6",
      "IkkzMiIsInNoYXBlIjpbMV0sImRhdGFfb2Zmc2V0cyI6WzM2LDQwXX0sImJmIjp7ImR0eXBlIjoiQkYxNiIsInNoYXBlIjpb",
      "M10sImRhdGFfb2Zmc2V0cyI6WzQwLDQ2XX0sImgiOnsiZHR5cGUiOiJGMTYiLCJzaGFwZSI6WzJdLCJkYXRhX29mZnNldHMi",
      "Ols0Niw1MF19LCJ1Ijp7ImR0eXBlIjoiVTgiLCJzaGFwZSI6WzJdLCJkYXRhX29mZnNldHMiOls1MCw1Ml19LCJiIjp7ImR0",
      "eXBlIjoiQk9PTCIsInNoYXBlIjpbM10sImRhdGFfb2Zmc2V0cyI6WzUyLDU1XX19BQAAAAAAAAAAACBAAAAgwAAAwL8AAAC/",
      "AAAAPwAAwD8AACBA+f///8A/AMBAQAA+ALQB/wEAAQ==",
    ].join(""),
    "base64",
  );

  test("has 64-bit integers, which are read where they fit", async () => {
    const { tensors, unreadable } = decodeSafetensors(file);
    expect([tensors.long!.dtype, await tensors.long!.toArray()]).toEqual(["int32", [5]]);
    expect(Object.keys(tensors)).toEqual(["b", "bf", "empty", "h", "i", "long", "scalar", "u", "w"]);
    expect(unreadable).toBeUndefined();
  });

  test("decodes", async () => {
    // The I64 element as two U32.
    const text = file.toString("latin1").replace('"I64","shape":[1]', '"U32","shape":[2]');
    const { tensors, metadata } = decodeSafetensors(Buffer.from(text, "latin1"));
    expect(metadata).toEqual({ by: "safetensors" });
    expect(Object.keys(tensors)).toEqual(["b", "bf", "empty", "h", "i", "long", "scalar", "u", "w"]);
    expect(await tensors.w!.toArray()).toEqual([
      [-2.5, -1.5, -0.5],
      [0.5, 1.5, 2.5],
    ]);
    expect(await tensors.h!.toArray()).toEqual([1.5, -0.25]);
    expect(await tensors.b!.toArray()).toEqual([true, false, true]);
    expect(await tensors.i!.toArray()).toEqual([-7]);
    expect(await tensors.u!.toArray()).toEqual([1, 255]);
    expect(await tensors.bf!.toArray()).toEqual([1.5, -2, 3]);
    expect(await tensors.long!.toArray()).toEqual([5, 0]);
    expect(await tensors.scalar!.item()).toBe(2.5);
    expect([tensors.empty!.shape, tensors.empty!.dtype]).toEqual([[0, 4], "float32"]);
  });
});

describe("encode, then decode", () => {
  const SIZES: [DType, number][] = [
    ["float32", 4],
    ["bfloat16", 2],
    ["float16", 2],
    ["float8_e4m3fn", 1],
    ["float8_e5m2", 1],
    ["float8_e8m0fnu", 1],
    ["int32", 4],
    ["uint32", 4],
    ["uint8", 1],
    ["bool", 1],
  ];

  test.each(SIZES)("%s keeps every bit", async (dtype, size) => {
    const bytes = Uint8Array.from({ length: 12 * size }, (_, i) => (dtype === "bool" ? i % 2 : (i * 151 + 7) % 256));
    const original = tensor(viewAs(dtype, bytes), { shape: [3, 4], dtype });
    const { tensors } = decodeSafetensors(await encodeSafetensors({ original }));
    expect([tensors.original!.dtype, tensors.original!.shape]).toEqual([dtype, [3, 4]]);
    expect(bytesOf(tensors.original!)).toEqual([...bytes]);
  });

  test("lays wide types out first, then by name, on multiples of their size", async () => {
    const narrow = tensor(new Uint8Array(3), { shape: [3] });
    const wide = tensor([1, 2]);
    const file = await encodeSafetensors({ z: wide, b: narrow, a: narrow, c: wide }, { two: "2", one: "1" });
    const length = Number(new DataView(file.buffer).getBigUint64(0, true));
    expect(length % 8).toBe(0);
    const text = new TextDecoder().decode(file.subarray(8, 8 + length));
    expect(text.trimEnd()).toBe(
      '{"__metadata__":{"one":"1","two":"2"},' +
        '"c":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"z":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},' +
        '"a":{"dtype":"U8","shape":[3],"data_offsets":[16,19]},"b":{"dtype":"U8","shape":[3],"data_offsets":[19,22]}}',
    );
    expect(file.length).toBe(8 + length + 22);
  });

  test("no tensors at all", async () => {
    expect(decodeSafetensors(await encodeSafetensors({}))).toEqual({ tensors: {}, metadata: {} });
  });

  test("names and metadata of any characters", async () => {
    const name = 'a "quoted" \\ name\n☃ \u0000 constructor';
    const file = await encodeSafetensors({ [name]: tensor([1]), toString: tensor([2]) }, { [name]: name });
    const { tensors, metadata } = decodeSafetensors(file);
    expect(Object.keys(tensors).sort()).toEqual([name, "toString"].sort());
    expect(metadata).toEqual({ [name]: name });
  });

  test("reserved names are refused", async () => {
    for (const name of ["__metadata__", "__proto__"]) {
      const error = await teErrorOf(() => encodeSafetensors(Object.fromEntries([[name, tensor([1])]])));
      expect(error.message).toBe(`encodeSafetensors: a tensor may not be named ${name}.`);
    }
    expect((await teErrorOf(() => encodeSafetensors({}, { a: 1 } as never))).code).toBe("file");
  });

  test("float64 is refused", async () => {
    const wide = tensor(new Float64Array([1]), { dtype: "float64" });
    const error = await teErrorOf(() => encodeSafetensors({ wide }));
    expect(error.code).toBe("dtype");
    expect(error.message).toBe(
      'encodeSafetensors: tensor "wide": float64 cannot be stored. Cast it to float32 with astype.',
    );
  });
});

describe("a damaged file is refused with the rule it breaks", () => {
  const f32 = (shape: unknown, range: unknown) => ({ dtype: "F32", shape, data_offsets: range });
  const withLength = (length: bigint, total: number) => {
    const bytes = new Uint8Array(total);
    new DataView(bytes.buffer).setBigUint64(0, length, true);
    return bytes;
  };
  const CASES: [string, Uint8Array, string][] = [
    ["empty", new Uint8Array(0), "a safetensors file has at least 8 bytes, got 0."],
    ["seven bytes", new Uint8Array(7), "a safetensors file has at least 8 bytes, got 7."],
    ["huge header", withLength(100_000_001n, 16), "the header length must be at most 100000000 bytes, got 100000001."],
    ["header length 2^64-1", withLength(2n ** 64n - 1n, 16), "at most 100000000 bytes, got 18446744073709551615."],
    [
      "header beyond the file",
      withLength(9n, 16),
      "the header must end within the 16 bytes of the file, got length 9.",
    ],
    ["no header", withLength(0n, 8), "the header must be valid JSON"],
    ["not UTF-8", fileOf("{}").fill(0xff, 8), "the header must be valid UTF-8."],
    ["byte order mark", fileOf("\ufeff{}"), "the header must be valid JSON"],
    ["not JSON", fileOf("{]"), "the header must be valid JSON"],
    ["a list", fileOf([]), "the header must be a JSON object, got []."],
    ["null", fileOf("null"), "the header must be a JSON object, got null."],
    ["tensor is a number", fileOf({ a: 1 }), 'tensor "a" must be described by a JSON object, got 1.'],
    [
      "no dtype",
      fileOf({ a: { shape: [], data_offsets: [0, 0] } }),
      'tensor "a": the dtype must be one of the format, got none.',
    ],
    [
      "unknown dtype",
      fileOf({ a: { dtype: "F33", shape: [], data_offsets: [0, 4] } }, 4),
      "one of the format, got F33.",
    ],
    ["inherited dtype", fileOf({ a: { dtype: "toString", shape: [], data_offsets: [0, 4] } }, 4), "got toString."],
    ["no shape", fileOf({ a: f32(undefined, [0, 4]) }, 4), "array of non-negative integers, got none."],
    ["negative size", fileOf({ a: f32([-1], [0, 4]) }, 4), "array of non-negative integers, got [-1]."],
    ["fractional size", fileOf({ a: f32([1.5], [0, 6]) }, 6), "array of non-negative integers, got [1.5]."],
    ["size as text", fileOf({ a: f32(["1"], [0, 4]) }, 4), 'array of non-negative integers, got ["1"].'],
    ["size beyond integers", fileOf({ a: f32([2 ** 60], [0, 4]) }, 4), "array of non-negative integers"],
    ["product overflows", fileOf({ a: f32([2 ** 40, 2 ** 40], [0, 4]) }, 4), "fewer than 2^53 bits"],
    ["product overflows to 0", fileOf({ a: f32([2 ** 40, 2 ** 40, 0], [0, 0]) }), "fewer than 2^53 bits"],
    ["no range", fileOf({ a: f32([1], undefined) }, 4), "two non-negative integers, got none."],
    ["range of three", fileOf({ a: f32([1], [0, 4, 8]) }, 4), "two non-negative integers, got [0,4,8]."],
    ["negative range", fileOf({ a: f32([1], [-4, 0]) }, 4), "two non-negative integers, got [-4,0]."],
    ["backward range", fileOf({ a: f32([1], [4, 0]) }, 4), "data_offsets must not run backwards, got [4,0]."],
    ["range too long", fileOf({ a: f32([1], [0, 8]) }, 8), "F32 of shape [1] needs a range of 4 bytes, got 8 bytes."],
    ["range beyond the file", fileOf({ a: f32([2], [0, 8]) }, 7), "need 8 bytes after the header, got 7 bytes."],
    ["bytes after the data", fileOf({ a: f32([2], [0, 8]) }, 9), "need 8 bytes after the header, got 9 bytes."],
    ["gap at the start", fileOf({ a: f32([1], [4, 8]) }, 8), 'leave a gap: tensor "a" should begin at 0, got 4.'],
    [
      "gap",
      fileOf({ a: f32([1], [0, 4]), b: f32([1], [8, 12]) }, 12),
      'leave a gap: tensor "b" should begin at 4, got 8.',
    ],
    [
      "overlap",
      fileOf({ a: f32([2], [0, 8]), b: f32([1], [4, 8]) }, 8),
      'overlap: tensor "b" should begin at 8, got 4.',
    ],
    ["same range twice", fileOf({ a: f32([1], [0, 4]), b: f32([1], [0, 4]) }, 4), "overlap"],
    ["empty tensor inside another", fileOf({ a: f32([2], [0, 8]), b: f32([0], [4, 4]) }, 8), "overlap"],
    [
      "name twice",
      fileOf('{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"\\u0061" :{}}'),
      'must occur once, got "a".',
    ],
    [
      "key twice",
      fileOf('{"a":{"dtype":"F32","dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
      'occur once, got "dtype".',
    ],
    ["__proto__", fileOf('{"__proto__":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'), "may be __proto__."],
    ["escaped __proto__", fileOf('{"a":{"\\u005f_proto__":1}}'), "may be __proto__."],
    ["metadata is a list", fileOf({ __metadata__: [] }), "__metadata__ must be a JSON object, got []."],
    ["metadata is a number", fileOf({ __metadata__: { a: 1 } }), 'metadata "a" must be a string, got 1.'],
    [
      "half a byte",
      fileOf({ a: { dtype: "F4", shape: [3], data_offsets: [0, 1] } }, 1),
      "F4 elements must fill whole bytes",
    ],
    [
      "bool of 2",
      fileOf({ a: { dtype: "BOOL", shape: [1], data_offsets: [0, 1] } }, 1).fill(2, -1),
      "must be 0 or 1, got 2.",
    ],
    [
      "deep nesting",
      fileOf(`{"a":{"dtype":"F32","shape":${"[".repeat(1e5)}${"]".repeat(1e5)}}}`),
      "non-negative integers",
    ],
  ];

  test.each(CASES)("%s", async (_, bytes, rule) => {
    const error = await teErrorOf(() => decodeSafetensors(bytes));
    expect(error.code).toBe("file");
    expect(error.message).toContain("decodeSafetensors: ");
    expect(error.message).toContain(rule);
  });

  test("the order of names is free as long as the ranges cover the data", async () => {
    const { tensors } = decodeSafetensors(fileOf({ a: f32([1], [4, 8]), b: f32([1], [0, 4]), c: f32([0], [4, 4]) }, 8));
    expect(Object.keys(tensors)).toEqual(["a", "b", "c"]);
  });
});
