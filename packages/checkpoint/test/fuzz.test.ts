/** Damaged, random and almost right files: each is read as what it says or refused with a TeError. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fc } from "@fast-check/vitest";
import { TeError, type Tensor, tensor } from "@te/tensor";
import { expect, test } from "vitest";
import { decodeSafetensors, encodeSafetensors, openSafetensors } from "../src/index.js";
import { fileOf, temporaryDirectory } from "./helpers.js";

const numRuns = Number(process.env.TE_FUZZ_RUNS ?? 300);

/** Decodes, or returns the TeError; any other error is thrown on. */
function decodeOrRefuse(bytes: Uint8Array): Record<string, Tensor> | TeError {
  try {
    return decodeSafetensors(bytes).tensors;
  } catch (error) {
    if (!TeError.is(error)) throw error;
    expect(["file", "unsupported"]).toContain(error.code);
    return error;
  }
}

const small = () =>
  encodeSafetensors(
    {
      w: tensor([
        [1, 2],
        [3, 4],
      ]),
      b: tensor([true, false, true]),
      e: tensor([], { shape: [0] }),
    },
    { k: "v" },
  );

test("every truncation of a file is refused", async () => {
  const file = await small();
  for (let length = 0; length < file.length; length++) {
    expect(decodeOrRefuse(file.subarray(0, length)), `${length} of ${file.length} bytes`).toBeInstanceOf(TeError);
  }
});

test("every truncation of a file on disk is refused", async () => {
  const file = await small();
  const path = join(await temporaryDirectory(), "cut.safetensors");
  for (let length = 0; length < file.length; length++) {
    await writeFile(path, file.subarray(0, length));
    await expect(openSafetensors(path), `${length} of ${file.length} bytes`).rejects.toThrow(TeError);
  }
});

test("every bit flip is refused or read as a file of the same size", async () => {
  const file = await small();
  for (let bit = 0; bit < file.length * 8; bit++) {
    const flipped = file.slice();
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    const result = decodeOrRefuse(flipped);
    if (TeError.is(result)) continue;
    const bytes = Object.values(result).reduce((sum, t) => sum + t.dataSync().byteLength, 0);
    expect(bytes, `bit ${bit}`).toBe(16 + 3);
  }
});

test("random bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 256 }), (bytes) => void decodeOrRefuse(bytes)),
    { numRuns },
  );
});

test("random JSON headers", () => {
  fc.assert(
    fc.property(fc.json(), fc.nat(64), (header, dataBytes) => void decodeOrRefuse(fileOf(header, dataBytes))),
    { numRuns },
  );
});

const size = fc.oneof(fc.nat(4), fc.constantFrom(-1, 0.5, 2 ** 31, 2 ** 53, 1e308));
const description = fc.record(
  {
    dtype: fc.constantFrom("F32", "BF16", "F8_E4M3", "U8", "BOOL", "I64", "F64", "F4", "C64", "X"),
    shape: fc.array(size, { maxLength: 3 }),
    data_offsets: fc.tuple(size, size),
  },
  { noNullPrototype: true },
);
const headers = fc.dictionary(fc.constantFrom("a", "b", "__metadata__", "__proto__", "constructor"), description);

test("headers that are almost right", () => {
  fc.assert(
    fc.property(headers, fc.nat(32), (header, dataBytes) => {
      const result = decodeOrRefuse(fileOf(header, dataBytes));
      if (TeError.is(result)) return;
      const described = header as Record<string, { shape: number[]; data_offsets: number[] }>;
      const names = Object.keys(described).sort();
      expect(Object.getOwnPropertyNames(result).sort()).toEqual(names);
      expect(
        names.reduce((sum, name) => sum + described[name]!.data_offsets[1]! - described[name]!.data_offsets[0]!, 0),
      ).toBe(dataBytes);
      for (const [name, found] of Object.entries(result)) expect(found.shape).toEqual(described[name]!.shape);
    }),
    { numRuns: numRuns * 3 },
  );
});

const anyTensor = fc
  .tuple(
    fc.constantFrom("float32", "bfloat16", "float8_e5m2", "int32", "uint8", "bool"),
    fc.array(fc.nat(3), { maxLength: 3 }),
  )
  .map(([dtype, shape]) => {
    const length = shape.reduce((a, b) => a * b, 1);
    return tensor(
      new Float64Array(length).map((_, i) => i % 2),
      { shape, dtype: dtype as "float32" },
    );
  });
const anyName = fc.string({ unit: "binary" }).filter((name) => name !== "__metadata__" && name !== "__proto__");

test("what is encoded decodes to the same", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(anyName, anyTensor),
      fc.dictionary(anyName, fc.string()),
      async (tensors, metadata) => {
        const decoded = decodeSafetensors(await encodeSafetensors(tensors, metadata));
        const plain = (named: Record<string, Tensor>) =>
          new Map(Object.entries(named).map(([name, t]) => [name, [t.dtype, t.shape, t.dataSync()]]));
        expect(plain(decoded.tensors)).toEqual(plain(tensors));
        expect({ ...decoded.metadata }).toEqual({ ...metadata });
      },
    ),
    { numRuns },
  );
});
