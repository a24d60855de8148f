/** From the bytes of a stored type to a tensor. What a dtype holds exactly is read without asking, everything else on request. */
import { type DType, TeError, type Tensor, tensor } from "@te/tensor";
import { tensorOwning, toFloat64, viewAs } from "@te/tensor/op";
import { dtypeOf, failFile, type StoredType } from "./format.js";
import type { Described } from "./header.js";

/** The dtypes that stored types are to be read as, such as `{ F64: "float32", I64: "int32" }`. */
export type Conversions = Readonly<Partial<Record<StoredType, DType>>>;

/** Stored types that no dtype has: the dtype that holds their values, where one holds all of them, and the values. */
interface Foreign {
  readonly dtype?: DType;
  readonly values: (buffer: ArrayBuffer, count: number) => ArrayLike<number>;
}

const FOREIGN: Readonly<Partial<Record<StoredType, Foreign>>> = {
  I8: { dtype: "int32", values: (buffer) => new Int8Array(buffer) },
  I16: { dtype: "int32", values: (buffer) => new Int16Array(buffer) },
  // As numbers: an array of 16-bit words would be taken for codes of floats.
  U16: { dtype: "int32", values: (buffer) => Int32Array.from(new Uint16Array(buffer)) },
  I64: { dtype: "int32", values: (buffer, count) => wide(new Int32Array(buffer), count) },
  U64: { dtype: "int32", values: (buffer, count) => wide(new Uint32Array(buffer), count) },
  F64: { values: (buffer) => new Float64Array(buffer) },
  F8_E4M3FNUZ: small(8, { exponent: 4, bias: 8, negativeZero: false }),
  F8_E5M2FNUZ: small(8, { exponent: 5, bias: 16, negativeZero: false }),
  F6_E2M3: small(6, { exponent: 2, bias: 1 }),
  F6_E3M2: small(6, { exponent: 3, bias: 3 }),
  F4: small(4, { exponent: 2, bias: 1 }),
};

/** The dtype that a stored type is read as when nobody asks for another; undefined where somebody must, or nothing will do. */
export const readsAs = (type: StoredType): DType | undefined => dtypeOf(type) ?? FOREIGN[type]?.dtype;

/**
 * Makes the tensor of an entry from a buffer that holds its bytes and nothing else. With a dtype that is not its own its
 * values are converted as by `tensor`: floats to nearest, integers toward zero and saturating.
 */
export function tensorOfBytes(where: string, entry: Described, buffer: ArrayBuffer, asked?: DType): Tensor {
  const { name, type, shape } = entry;
  const own = dtypeOf(type);
  if (own === "bool") checkBooleans(where, name, buffer);
  if (own && (asked === undefined || asked === own)) return tensorOwning(viewAs(own, buffer), shape, own);
  const values = own ? toFloat64(own, viewAs(own, buffer)) : foreignValues(where, entry, buffer, asked);
  return tensor(values as Float64Array, { shape, dtype: asked ?? readsAs(type)! });
}

function foreignValues(where: string, entry: Described, buffer: ArrayBuffer, asked?: DType): ArrayLike<number> {
  const { name, type, shape } = entry;
  const foreign = FOREIGN[type];
  const of = `${where}: tensor ${JSON.stringify(name)}`;
  if (!foreign)
    throw new TeError("unsupported", `${of}: there is no tensor dtype for ${type}. Take its bytes with readBytes.`);
  const ask = `Ask for one: { convert: { ${type}: "float32" } }, or { dtype: "float32" } where one tensor is read`;
  if (!asked && !foreign.dtype)
    throw new TeError("unsupported", `${of}: no tensor dtype holds ${type} exactly. ${ask}.`);
  const values = foreign.values(
    buffer,
    shape.reduce((size, d) => size * d, 1),
  );
  if (!asked && (type === "I64" || type === "U64")) checkFits(of, type, values, ask);
  return values;
}

function checkBooleans(where: string, name: string, buffer: ArrayBuffer): void {
  const bytes = new Uint8Array(buffer);
  for (let i = 0; i < bytes.length; i++)
    if (bytes[i]! > 1) failFile(where, `tensor ${JSON.stringify(name)}: BOOL elements must be 0 or 1`, bytes[i]);
}

function checkFits(of: string, type: StoredType, values: ArrayLike<number>, ask: string): void {
  for (let i = 0; i < values.length; i++) {
    if (values[i] === (values[i]! | 0)) continue;
    const rule = `${of}: ${type} elements must fit into int32 to be read without being asked for`;
    throw new TeError("unsupported", `${rule}, got ${values[i]} at ${i}. ${ask}.`);
  }
}

/** 64-bit integers from pairs of a low half and a high half, whose sign is that of the array: rounded once. */
function wide(halves: Int32Array | Uint32Array, count: number): Float64Array {
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) values[i] = halves[2 * i + 1]! * 2 ** 32 + (halves[2 * i]! >>> 0);
  return values;
}

/** A float of at most 8 bits: sign, exponent, mantissa. The kinds without infinities; NaN only in place of a negative zero. */
interface SmallFloat {
  readonly exponent: number;
  readonly bias: number;
  readonly negativeZero?: boolean;
}

/** Every code of a small float is exact in float32. Codes stand one after the other, the first in the lowest bits. */
function small(bits: number, float: SmallFloat): Foreign {
  const table = Float64Array.from({ length: 2 ** bits }, (_, code) => decodeSmall(code, bits, float));
  const mask = 2 ** bits - 1;
  const values = (buffer: ArrayBuffer, count: number): Float32Array => {
    const bytes = new Uint8Array(buffer);
    return Float32Array.from({ length: count }, (_, i) => {
      const byte = Math.floor((i * bits) / 8);
      const pair = bytes[byte]! | ((bytes[byte + 1] ?? 0) << 8);
      return table[(pair >>> (i * bits - 8 * byte)) & mask]!;
    });
  };
  return { dtype: "float32", values };
}

function decodeSmall(code: number, bits: number, { exponent, bias, negativeZero = true }: SmallFloat): number {
  const mantissa = bits - 1 - exponent;
  const sign = code >> (bits - 1) ? -1 : 1;
  const e = (code >> mantissa) & (2 ** exponent - 1);
  const fraction = (code & (2 ** mantissa - 1)) / 2 ** mantissa;
  if (sign < 0 && e === 0 && fraction === 0 && !negativeZero) return Number.NaN;
  return sign * (e === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (e - bias));
}
