/** The names and sizes of the safetensors format: 8 bytes of header length, a JSON header, then the bytes of the tensors. */
import { type DType, TeError } from "@te/tensor";

/** Files with a longer header are refused, as by the original library. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Every type of the format: bits of one element, and our dtype where there is one. */
const TYPES = {
  F64: { bits: 64 },
  I64: { bits: 64 },
  U64: { bits: 64 },
  C64: { bits: 64 },
  F32: { bits: 32, dtype: "float32" },
  I32: { bits: 32, dtype: "int32" },
  U32: { bits: 32, dtype: "uint32" },
  BF16: { bits: 16, dtype: "bfloat16" },
  F16: { bits: 16, dtype: "float16" },
  I16: { bits: 16 },
  U16: { bits: 16 },
  F8_E4M3: { bits: 8, dtype: "float8_e4m3fn" },
  F8_E5M2: { bits: 8, dtype: "float8_e5m2" },
  F8_E8M0: { bits: 8, dtype: "float8_e8m0fnu" },
  F8_E4M3FNUZ: { bits: 8 },
  F8_E5M2FNUZ: { bits: 8 },
  I8: { bits: 8 },
  U8: { bits: 8, dtype: "uint8" },
  BOOL: { bits: 8, dtype: "bool" },
  F6_E2M3: { bits: 6 },
  F6_E3M2: { bits: 6 },
  F4: { bits: 4 },
} as const satisfies Record<string, { bits: number; dtype?: DType }>;

/** A type name of the format, such as "BF16". */
export type StoredType = keyof typeof TYPES;

/** Every type name. */
export const STORED_TYPES = Object.keys(TYPES) as StoredType[];

export const isStoredType = (name: unknown): name is StoredType =>
  typeof name === "string" && Object.hasOwn(TYPES, name);

export const bitsOf = (type: StoredType): number => TYPES[type].bits;

/** Our dtype for a type of the format; undefined for those that tensors do not have, such as F64. */
export const dtypeOf = (type: StoredType): DType | undefined => (TYPES[type] as { dtype?: DType }).dtype;

const STORED = new Map(Object.entries(TYPES).map(([name, type]) => [(type as { dtype?: DType }).dtype, name]));

/** The type of the format that holds a dtype; undefined for float64, which is no storage type. */
export const storedTypeOf = (dtype: DType): StoredType | undefined => STORED.get(dtype) as StoredType | undefined;

/** One tensor of a file: its range is [begin, end) in the bytes after the header. */
export interface Entry {
  readonly name: string;
  readonly type: StoredType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface Header {
  /** By name, in alphabetical order. */
  readonly entries: ReadonlyMap<string, Entry>;
  readonly metadata: Readonly<Record<string, string>>;
}

const LONGEST = 80;

/** Throws a TeError with code "file": `where: rule, got value.` Long values are cut. */
export function failFile(where: string, rule: string, value?: unknown): never {
  const text = value === undefined ? "" : `, got ${shorten(value)}`;
  throw new TeError("file", `${where}: ${rule}${text}.`);
}

function shorten(value: unknown): string {
  const text = typeof value === "string" ? value : stringify(value);
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

/** JSON.stringify overflows the stack on hostile nesting. */
function stringify(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return "a deeply nested value";
  }
}
