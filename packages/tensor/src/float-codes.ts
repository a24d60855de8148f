/**
 * Exact conversion between numbers and the codes of narrow float types. Rounding is to nearest, ties to even.
 * The casts are those of ml_dtypes: float8_e4m3fn has no infinity, so overflow gives NaN; the others overflow to
 * infinity; float8_e8m0fnu holds powers of two only.
 */
import { allocate, checkDType, type DType, finfo, type TypedArray } from "./dtype.js";
import { fail } from "./errors.js";
import { expectNumber, expectNumbers, expectTyped } from "./expect.js";

/** A binary float format with an implicit leading bit and subnormals. */
interface Format {
  readonly exponentBits: number;
  readonly mantissaBits: number;
  /** e4m3fn: the all-ones exponent holds ordinary numbers; only the all-ones code is NaN. */
  readonly finiteOnly: boolean;
}

const FORMATS = {
  bfloat16: { exponentBits: 8, mantissaBits: 7, finiteOnly: false },
  float16: { exponentBits: 5, mantissaBits: 10, finiteOnly: false },
  float8_e4m3fn: { exponentBits: 4, mantissaBits: 3, finiteOnly: true },
  float8_e5m2: { exponentBits: 5, mantissaBits: 2, finiteOnly: false },
} satisfies Partial<Record<DType, Format>>;

export type NarrowFloat = keyof typeof FORMATS;

const isNarrow = (dtype: unknown): dtype is NarrowFloat => typeof dtype === "string" && Object.hasOwn(FORMATS, dtype);
const NARROW = `dtype must be one of ${Object.keys(FORMATS).join(", ")}`;

/** The value of one code. */
function decodeCode(format: Format, code: number): number {
  const { exponentBits, mantissaBits, finiteOnly } = format;
  const sign = code >> (exponentBits + mantissaBits) ? -1 : 1;
  const exponent = (code >> mantissaBits) & ((1 << exponentBits) - 1);
  const mantissa = code & ((1 << mantissaBits) - 1);
  const allOnes = (1 << exponentBits) - 1;
  const bias = (1 << (exponentBits - 1)) - 1;
  if (exponent === allOnes && !finiteOnly) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === allOnes && mantissa === (1 << mantissaBits) - 1) return Number.NaN;
  if (exponent === 0) return sign * mantissa * 2 ** (1 - bias - mantissaBits);
  return sign * (1 + mantissa / (1 << mantissaBits)) * 2 ** (exponent - bias);
}

/** Rounds 0 ≤ x < 2^52 half to even: adding 2^52 leaves no room for a fraction. */
const roundEven = (x: number): number => x + 2 ** 52 - 2 ** 52;

/** POWERS[k + 1100] = 2^k: a table, because ** is slow. */
const POWERS = Float64Array.from({ length: 2200 }, (_, i) => 2 ** (i - 1100));
const powerOfTwo = (k: number): number => POWERS[k + 1100]!;

const exponentOf = (() => {
  const f64 = new Float64Array(1);
  const u32 = new Uint32Array(f64.buffer);
  return (x: number): number => {
    f64[0] = x;
    return ((u32[1]! >>> 20) & 0x7ff) - 1023;
  };
})();

/** The code nearest to a number. */
function encodeValue(format: Format, x: number, max: number): number {
  const { exponentBits, mantissaBits, finiteOnly } = format;
  const signBit = 1 << (exponentBits + mantissaBits);
  const magnitudeMask = signBit - 1;
  const bias = (1 << (exponentBits - 1)) - 1;
  const infinity = ((1 << exponentBits) - 1) << mantissaBits;
  if (Number.isNaN(x)) return finiteOnly ? magnitudeMask : infinity | (1 << (mantissaBits - 1));
  const sign = x < 0 || Object.is(x, -0) ? signBit : 0;
  const a = Math.abs(x);
  const overflow = finiteOnly ? magnitudeMask : infinity;
  if (a === Number.POSITIVE_INFINITY) return sign | overflow;
  const exponent = Math.max(exponentOf(a), 1 - bias);
  const scaled = roundEven(a * powerOfTwo(mantissaBits - exponent));
  const rounded = scaled * powerOfTwo(exponent - mantissaBits);
  if (rounded > max) return sign | overflow;
  // scaled carries the implicit bit; a subnormal has none, and a carry into the next exponent adds up by itself.
  const code = scaled + ((exponent + bias - 1) << mantissaBits);
  return sign | code;
}

const decodeTables = new Map<NarrowFloat, Float64Array>();

/** code → value for every code of a narrow type. */
export function decodeTable(dtype: NarrowFloat): Float64Array {
  let table = decodeTables.get(dtype);
  if (!table) {
    if (!isNarrow(dtype)) fail("dtype", "decodeTable", NARROW, dtype ?? String(dtype));
    const format = FORMATS[dtype];
    table = Float64Array.from({ length: 1 << (1 + format.exponentBits + format.mantissaBits) }, (_, code) =>
      decodeCode(format, code),
    );
    decodeTables.set(dtype, table);
  }
  return table;
}

/** Nearest code of a narrow type; `saturate` clips to the largest finite value first (NaN stays NaN). */
export function encodeFloat(dtype: NarrowFloat, x: number, saturate = false): number {
  if (!isNarrow(dtype)) fail("dtype", "encodeFloat", NARROW, dtype ?? String(dtype));
  if (typeof x !== "number") expectNumber("encodeFloat", { x });
  const { max } = finfo(dtype);
  return encodeValue(FORMATS[dtype], saturate ? Math.min(Math.max(x, -max), max) : x, max);
}

/**
 * float8_e8m0fnu: 2^(code-127), 255 is NaN. Zero, negatives and infinities have no code and give NaN. The nearest power
 * of two, halfway up; between the two smallest, 2^-127 and 2^-126, always up, as in ml_dtypes.
 */
export function encodeE8M0(x: number): number {
  if (typeof x !== "number") expectNumber("encodeE8M0", { x });
  if (!(x > 0) || x === Number.POSITIVE_INFINITY) return 255;
  if (x < 2 ** -126) return x > 2 ** -127 ? 1 : 0;
  const exponent = exponentOf(x);
  const code = exponent + 127 + (x >= 1.5 * 2 ** exponent ? 1 : 0);
  return code > 254 ? 255 : code;
}

/** The value of a float8_e8m0fnu code: 2^(code - 127), NaN for 255. */
export function decodeE8M0(code: number): number {
  if (typeof code !== "number") expectNumber("decodeE8M0", { code });
  return code === 255 ? Number.NaN : 2 ** (code - 127);
}

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** bfloat16 code of a float32 value: the upper half, rounded to even. */
function bfloat16OfFloat32(x: number): number {
  f32[0] = x;
  const bits = u32[0]!;
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** Decodes storage into float64 values (exact for every type). */
export function toFloat64(dtype: DType, data: TypedArray): Float64Array {
  if (data instanceof Float64Array) return data;
  checkDType("toFloat64", dtype);
  expectTyped("toFloat64", { data });
  if (dtype === "float8_e8m0fnu") return Float64Array.from(data, decodeE8M0);
  if (dtype in FORMATS) {
    const table = decodeTable(dtype as NarrowFloat);
    const out = new Float64Array(data.length);
    for (let i = 0; i < out.length; i++) out[i] = table[data[i]!]!;
    return out;
  }
  return new Float64Array(data);
}

/** Rounds float64 values into storage: floats to nearest even, integers toward zero and saturating (NaN gives 0). */
export function fromFloat64(dtype: DType, values: ArrayLike<number>, given?: TypedArray): TypedArray {
  checkDType("fromFloat64", dtype);
  if (Array.isArray(values)) expectNumbers("fromFloat64", { values });
  else expectTyped("fromFloat64", { values });
  if (given !== undefined) expectTyped("fromFloat64", { out: given });
  const n = values.length;
  const out = given ?? allocate(dtype, n);
  if (out.length < n) fail("shape", "fromFloat64", `out must have room for ${n} numbers`, out.length);
  if (out instanceof Float64Array || dtype === "float32") {
    out.set(values);
  } else if (dtype === "bfloat16") {
    for (let i = 0; i < n; i++) out[i] = encodeBfloat16(values[i]!);
  } else if (dtype === "float8_e8m0fnu") {
    for (let i = 0; i < n; i++) out[i] = encodeE8M0(values[i]!);
  } else if (dtype in FORMATS) {
    const format = FORMATS[dtype as NarrowFloat];
    const { max } = finfo(dtype);
    for (let i = 0; i < n; i++) out[i] = encodeValue(format, values[i]!, max);
  } else if (dtype === "bool") {
    for (let i = 0; i < n; i++) out[i] = values[i] === 0 ? 0 : 1;
  } else {
    const [low, high] = INTEGER_RANGE[dtype as "int32" | "uint32" | "uint8"];
    for (let i = 0; i < n; i++) out[i] = Math.min(Math.max(Math.trunc(values[i]!), low), high) || 0;
  }
  return out;
}

export const INTEGER_RANGE = {
  int32: [-2147483648, 2147483647],
  uint32: [0, 4294967295],
  uint8: [0, 255],
} as const;

/**
 * One rounding from a float64. Rounding to float32 first gives another result only where that lands halfway between two
 * bfloat16 values.
 */
function encodeBfloat16(x: number): number {
  const code = bfloat16OfFloat32(x);
  const halfway = (u32[0]! & 0xffff) === 0x8000;
  return halfway && f32[0] !== x && !Number.isNaN(x) ? encodeFloat("bfloat16", x) : code;
}
