/** What arrays are is told by their elements: makers, realms and kinds of memory make no difference. */
import { runInNewContext } from "node:vm";
import { TeError, tensor } from "@te/tensor";
import { viewAs } from "@te/tensor/op";
import { describe, expect, test } from "vitest";

type Make = (bytes: Uint8Array, type: string) => any;
const here = (type: string): any => (globalThis as any)[type];
const ownBuffer = (bytes: Uint8Array): ArrayBuffer => Uint8Array.from(bytes).buffer;
/** A subclass that lies about everything that can be overridden. */
const lyingClass = (type: string): any =>
  class extends here(type) {
    static readonly [Symbol.species] = Array;
    get length(): number {
      return 1;
    }
    get buffer(): ArrayBuffer {
      return new ArrayBuffer(64);
    }
  };

/** The same elements by different makers. */
const MAKERS: [string, Make][] = [
  ["the plain class", (bytes, type) => new (here(type))(ownBuffer(bytes))],
  [
    "another realm",
    (bytes, type) => runInNewContext(`new ${type}(Uint8Array.from(bytes).buffer)`, { bytes: [...bytes] }),
  ],
  ["a subclass", (bytes, type) => new (class extends here(type) {} as any)(ownBuffer(bytes))],
  ["a subclass that lies", (bytes, type) => new (lyingClass(type))(ownBuffer(bytes))],
  [
    "shared memory",
    (bytes, type) => {
      const memory = new SharedArrayBuffer(bytes.length);
      new Uint8Array(memory).set(bytes);
      return new (here(type))(memory);
    },
  ],
  [
    "a window of a larger buffer",
    (bytes, type) => {
      const at = 3 * here(type).BYTES_PER_ELEMENT;
      const all = new Uint8Array(at + bytes.length + 8);
      all.set(bytes, at);
      return new (here(type))(all.buffer, at, bytes.length / here(type).BYTES_PER_ELEMENT);
    },
  ],
  [
    "a buffer that can grow",
    (bytes, type) => {
      const memory = new (ArrayBuffer as any)(bytes.length, { maxByteLength: 4 * bytes.length });
      new Uint8Array(memory).set(bytes);
      return new (here(type))(memory);
    },
  ],
];

const CASES = [
  ["float8_e4m3fn", "Uint8Array", Uint8Array.of(0x38, 0x40, 0xc8), [1, 2, -4]],
  ["float8_e5m2", "Uint8Array", Uint8Array.of(0x3c, 0x40, 0xc4), [1, 2, -4]],
  ["float8_e8m0fnu", "Uint8Array", Uint8Array.of(127, 128, 129), [1, 2, 4]],
  ["float8_e4m3fn", "Uint8ClampedArray", Uint8Array.of(0x38, 0x40, 0xc8), [1, 2, -4]],
  ["bfloat16", "Uint16Array", Uint16Array.of(0x3f80, 0x4000, 0xc080), [1, 2, -4]],
  ["float16", "Uint16Array", Uint16Array.of(0x3c00, 0x4000, 0xc400), [1, 2, -4]],
  ["uint8", "Uint8Array", Uint8Array.of(1, 2, 255), [1, 2, 255]],
  ["bool", "Uint8Array", Uint8Array.of(1, 0, 255), [1, 0, 1]],
  ["int32", "Int32Array", Int32Array.of(1, 2, -4), [1, 2, -4]],
  ["uint32", "Uint32Array", Uint32Array.of(1, 2, 0xffffffff), [1, 2, 4294967295]],
  ["float32", "Float32Array", Float32Array.of(1, 2, -4), [1, 2, -4]],
  ["float32", "Float64Array", Float64Array.of(1, 2, -4), [1, 2, -4]],
  ["float32", "Int16Array", Int16Array.of(1, 2, -4), [1, 2, -4]],
  ["bfloat16", "Int8Array", Int8Array.of(1, 2, -4), [1, 2, -4]],
  ["bfloat16", "Uint8Array", Uint8Array.of(1, 2, 4), [1, 2, 4]],
] as const;

describe.each(MAKERS)("%s", (_, make) => {
  test.each(CASES)("%s from %s", async (dtype, type, elements, want) => {
    const bytes = new Uint8Array(elements.buffer);
    const data = make(bytes, type);
    const made = tensor(data, { dtype });
    expect([made.shape, made.dtype, [...(await made.values())]]).toEqual([[3], dtype, want]);
  });
});

test("a Buffer is a Uint8Array, and a tensor keeps its own copy of it", async () => {
  const data = Buffer.from([0x38, 0x40, 0x48]);
  const codes = tensor(data, { dtype: "float8_e4m3fn" });
  const numbers = tensor(data);
  data.fill(0);
  expect([...(await codes.values())]).toEqual([1, 2, 4]);
  expect([numbers.dtype, ...(await numbers.values())]).toEqual(["uint8", 0x38, 0x40, 0x48]);
});

test("NaN of any payload keeps its bits", async () => {
  const bits = Uint32Array.of(0x7fc12345, 0xff800001);
  const data = (await tensor(new Float32Array(bits.buffer)).data()) as Float32Array;
  expect([...new Uint32Array(data.buffer)]).toEqual([...bits]);
});

test.runIf("Float16Array" in globalThis)("a Float16Array holds float16", async () => {
  const data = here("Float16Array").of(1, -0.5, 65504);
  const made = tensor(data);
  expect([made.dtype, ...(await made.values())]).toEqual(["float16", 1, -0.5, 65504]);
  expect([...(await tensor(data, { dtype: "bfloat16" }).values())]).toEqual([1, -0.5, 65536]);
  expect([...(await tensor(data, { dtype: "int32" }).values())]).toEqual([1, 0, 65504]);
});

describe("is refused with a way out:", () => {
  const transferred = (): Float32Array => {
    const data = new Float32Array(4);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    return data;
  };
  const shrunk = (): Float32Array => {
    const buffer = new (ArrayBuffer as any)(16, { maxByteLength: 16 });
    const data = new Float32Array(buffer, 8, 2);
    buffer.resize(8);
    return data;
  };
  test.each<[string, unknown, string]>([
    ["64-bit integers", BigInt64Array.of(1n), "got BigInt64Array. Convert it with Array.from(data, Number)."],
    ["no 64-bit integers", new BigUint64Array(0), "got BigUint64Array. Convert"],
    ["a DataView", new DataView(new ArrayBuffer(8)), "got DataView. Make one over its bytes: new Float32Array("],
    ["an ArrayBuffer", new ArrayBuffer(8), "got ArrayBuffer. Make an array over it, such as new Float32Array(buffer)."],
    ["shared memory itself", new SharedArrayBuffer(8), "got SharedArrayBuffer. Make an array over it"],
    ["a list of typed arrays", [Float32Array.of(1)], "got Float32Array. Convert it with Array.from."],
    ["a stand-in for an array", new Proxy(new Uint16Array(2), {}), "got Uint16Array. Convert it with Array.from."],
    ["a list that is no array", { length: 1, 0: 1 }, "got Object. Convert it with Array.from."],
    ["codes of no dtype", Uint16Array.of(1), "dtype is required for this array type, got an array of uint16."],
    ["an array that was given away", transferred(), "this Float32Array was transferred or became shorter. Copy it"],
    ["an array whose memory shrank", shrunk(), "this Float32Array was transferred or became shorter."],
  ])("%s", (_, data, said) => {
    let error: unknown;
    try {
      tensor(data as Float32Array);
    } catch (thrown) {
      error = thrown;
    }
    expect(TeError.is(error) && error.message).toContain(said);
    expect((error as Error).message).toMatch(/^tensor: /);
  });
});

test("bytes that begin anywhere are viewed as wider elements", () => {
  const all = new Uint8Array(9);
  all.set(new Uint8Array(Float32Array.of(1, 2).buffer), 1);
  expect([...viewAs("float32", all.subarray(1))]).toEqual([1, 2]);
  const aligned = new Uint8Array(8);
  expect(viewAs("float32", aligned).buffer).toBe(aligned.buffer);
});
