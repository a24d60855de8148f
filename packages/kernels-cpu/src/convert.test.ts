/** Native conversions against the codecs of @te/tensor: every code of the narrow formats, and the borders between codes. */
import type { DType } from "@te/tensor";
import { allocate, bytesOf, encodeE8M0, encodeFloat, toFloat64 } from "@te/tensor/op";
import { describe, expect, test } from "vitest";
import { loadNative } from "./load.js";

const found = loadNative();
const NARROW = ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"] as const;
type Narrow = (typeof NARROW)[number];

/** One cast, run natively. */
function cast(from: DType, to: DType, bytes: Uint8Array, saturate = false): Uint8Array {
  if (!("native" in found)) return expect.fail(found.reason);
  const { native } = found;
  const shape = [bytes.byteLength / bytesOf(from)];
  const code = [`${saturate ? "cast_saturate" : "cast"} ${to} %0`];
  const program = native.compile({
    values: [
      { dtype: from, shape, kind: 0, at: 0 },
      { dtype: to, shape, kind: 2, at: 0 },
    ],
    nodes: [{ op: "elementwise", inputs: [0], outputs: [1], params: { code, outputs: [1] } }],
    inputs: 1,
    outputs: [{ value: 1, alias: -1 }],
    arenaBytes: 0,
  });
  const x = native.fromArray(bytes);
  const handles = Int32Array.of(x, 0);
  native.run(program, handles.buffer);
  const into = new Uint8Array(shape[0]! * bytesOf(to));
  native.readSync(handles[1]!, into);
  native.release(x);
  native.release(handles[1]!);
  native.destroy(program);
  return into;
}

const bytesOfArray = (a: { buffer: ArrayBufferLike }): Uint8Array => new Uint8Array(a.buffer);
const everyCode = (dtype: Narrow) => allocate(dtype, 2 ** (8 * bytesOf(dtype))).map((_, i) => i);
const encode = (dtype: Narrow, x: number, saturate: boolean): number =>
  dtype === "float8_e8m0fnu" ? encodeE8M0(x) : encodeFloat(dtype, x, saturate);

describe.skipIf(!("native" in found))("conversions", () => {
  test.each(NARROW)("every code of %s decodes to its value", (dtype) => {
    const codes = everyCode(dtype);
    const got = new Float32Array(cast(dtype, "float32", bytesOfArray(codes)).buffer);
    expect([...got]).toEqual([...toFloat64(dtype, codes)]);
  });

  const encodings = NARROW.flatMap((dtype) =>
    [false, ...(dtype.startsWith("float8_e4") || dtype.startsWith("float8_e5") ? [true] : [])].map((saturate) => ({
      dtype,
      saturate,
    })),
  );
  test.each(encodings)(
    "values, halfway points and their neighbours encode alike: $dtype, saturate $saturate",
    ({ dtype, saturate }) => {
      const values = toFloat64(dtype, everyCode(dtype)).filter(Number.isFinite).sort();
      const points: number[] = [
        Number.NaN,
        Number.POSITIVE_INFINITY,
        Number.NEGATIVE_INFINITY,
        1e38,
        -1e38,
        1e-45,
        0,
        -0,
      ];
      for (let i = 0; i + 1 < values.length; i++) points.push(values[i]!, (values[i]! + values[i + 1]!) / 2);
      const exact = Float32Array.from(points);
      const bits = new Uint32Array(exact.buffer);
      // The float32 just above and just below each point, besides the point itself.
      const all = new Uint32Array(3 * bits.length);
      bits.forEach((b, i) => all.set([b, b + 1, b - 1], 3 * i));
      const floats = new Float32Array(all.buffer);
      const codes = cast("float32", dtype, bytesOfArray(all), saturate);
      const got = bytesOf(dtype) === 2 ? new Uint16Array(codes.buffer) : codes;
      const wrong: string[] = [];
      const decoded = toFloat64(dtype, got);
      floats.forEach((x, i) => {
        const wanted = encode(dtype, x, saturate);
        const bothNaN =
          Number.isNaN(decoded[i]!) && Number.isNaN(toFloat64(dtype, allocate(dtype, 1).fill(wanted))[0]!);
        if (got[i] !== wanted && !bothNaN) wrong.push(`${x}: ${got[i]}, wanted ${wanted}`);
      });
      expect(wrong.slice(0, 5)).toEqual([]);
    },
  );
});
