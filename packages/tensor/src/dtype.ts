/** Element types: their names, widths, storage and limits, and the type that holds the result of two. */
import { fail } from "./errors.js";
import { expectSize } from "./expect.js";

/** Element types, spelled as in JAX and ml_dtypes. float64 exists in the reference evaluator only. */
export type DType =
  | "float32"
  | "bfloat16"
  | "float16"
  | "float8_e4m3fn"
  | "float8_e5m2"
  | "float8_e8m0fnu"
  | "int32"
  | "uint32"
  | "uint8"
  | "bool"
  | "float64";

export type TypedArray = Float32Array | Float64Array | Int32Array | Uint32Array | Uint16Array | Uint8Array;

type ArrayConstructor = {
  new (length: number): TypedArray;
  new (buffer: ArrayBuffer, byteOffset?: number, length?: number): TypedArray;
  readonly BYTES_PER_ELEMENT: number;
};

interface DTypeInfo {
  readonly bytes: number;
  readonly array: ArrayConstructor;
  readonly kind: "float" | "int" | "bool";
}

const INFO: Record<DType, DTypeInfo> = {
  float32: { bytes: 4, array: Float32Array as ArrayConstructor, kind: "float" },
  bfloat16: { bytes: 2, array: Uint16Array as ArrayConstructor, kind: "float" },
  float16: { bytes: 2, array: Uint16Array as ArrayConstructor, kind: "float" },
  float8_e4m3fn: { bytes: 1, array: Uint8Array as ArrayConstructor, kind: "float" },
  float8_e5m2: { bytes: 1, array: Uint8Array as ArrayConstructor, kind: "float" },
  float8_e8m0fnu: { bytes: 1, array: Uint8Array as ArrayConstructor, kind: "float" },
  int32: { bytes: 4, array: Int32Array as ArrayConstructor, kind: "int" },
  uint32: { bytes: 4, array: Uint32Array as ArrayConstructor, kind: "int" },
  uint8: { bytes: 1, array: Uint8Array as ArrayConstructor, kind: "int" },
  bool: { bytes: 1, array: Uint8Array as ArrayConstructor, kind: "bool" },
  float64: { bytes: 8, array: Float64Array as ArrayConstructor, kind: "float" },
};

/** Every dtype, in the order that native code numbers them. */
export const DTYPES = Object.keys(INFO) as DType[];
/** The dtypes that layers compute in. */
export const FLOATS: readonly DType[] = ["float32", "bfloat16", "float16"];

/** Whether the value names a dtype. */
export function isDType(name: unknown): name is DType {
  return typeof name === "string" && Object.hasOwn(INFO, name);
}

/** Throws unless the value names a dtype. */
export function checkDType(fn: string, name: unknown): DType {
  return isDType(name) ? name : fail("dtype", fn, `dtype must be one of ${DTYPES.join(", ")}`, name ?? String(name));
}

function infoOf(fn: string, dtype: DType): DTypeInfo {
  if (typeof dtype !== "string") checkDType(fn, dtype);
  const info = INFO[dtype];
  // Every object has members such as "constructor", which are no dtypes.
  if (info?.bytes === undefined) checkDType(fn, dtype);
  return info;
}

/** Bytes of one element. */
export const bytesOf = (dtype: DType): number => infoOf("bytesOf", dtype).bytes;
/** Whether a dtype is floating, of any width. */
export const isFloat = (dtype: DType): boolean => infoOf("isFloat", dtype).kind === "float";
/** Whether a dtype is an integer. */
export const isInteger = (dtype: DType): boolean => infoOf("isInteger", dtype).kind === "int";
/** Whether a dtype is an 8-bit float. */
export function isFloat8(dtype: DType): boolean {
  const { bytes, kind } = infoOf("isFloat8", dtype);
  return bytes === 1 && kind === "float";
}

/** A zero-filled array of the storage type: numbers for 32-bit types, codes for narrower floats. */
export function allocate(dtype: DType, length: number): TypedArray {
  const { array } = infoOf("allocate", dtype);
  expectSize("allocate", { length });
  try {
    return new array(length);
  } catch {
    const rule = `there must be memory for ${length} elements of ${dtype}`;
    return fail("memory", "allocate", rule, undefined, "Split the work, or free tensors.");
  }
}

/** A view of bytes, or of a whole buffer, as the storage type; of a copy where they do not begin at a multiple of its width. */
export function viewAs(dtype: DType, bytes: Uint8Array | ArrayBuffer): TypedArray {
  const { array, bytes: width } = infoOf("viewAs", dtype);
  const viewed = ArrayBuffer.isView(bytes);
  const whole = viewed ? bytes.BYTES_PER_ELEMENT === 1 : bytes instanceof ArrayBuffer;
  if (!whole || bytes.byteLength % width !== 0) {
    const rule = `bytes must be a Uint8Array or an ArrayBuffer of a multiple of ${width} bytes`;
    fail("shape", "viewAs", rule, bytes ?? String(bytes));
  }
  // A buffer may be larger than one Uint8Array can view.
  if (!viewed) return new array(bytes);
  const { buffer, byteOffset } = bytes.byteOffset % width === 0 ? bytes : Uint8Array.from(bytes);
  return new array(buffer as ArrayBuffer, byteOffset, bytes.byteLength / width);
}

/** Largest finite value, machine epsilon and smallest normal value of a float type (numpy's finfo). */
export function finfo(dtype: DType): { max: number; eps: number; tiny: number } {
  const found = isDType(dtype) ? FINFO[dtype] : undefined;
  return found ?? fail("dtype", "finfo", "dtype must be a float type", dtype ?? String(dtype));
}

const FINFO: Partial<Record<DType, { max: number; eps: number; tiny: number }>> = {
  float64: { max: Number.MAX_VALUE, eps: 2 ** -52, tiny: 2 ** -1022 },
  float32: { max: 3.4028234663852886e38, eps: 2 ** -23, tiny: 2 ** -126 },
  bfloat16: { max: 3.3895313892515355e38, eps: 2 ** -7, tiny: 2 ** -126 },
  float16: { max: 65504, eps: 2 ** -10, tiny: 2 ** -14 },
  float8_e4m3fn: { max: 448, eps: 2 ** -3, tiny: 2 ** -6 },
  float8_e5m2: { max: 57344, eps: 2 ** -2, tiny: 2 ** -14 },
  float8_e8m0fnu: { max: 2 ** 127, eps: 1, tiny: 2 ** -127 },
};

/** The type that holds the result of an operation on two types, as in JAX. */
export function promoteTypes(a: DType, b: DType): DType {
  if (a === b) return checkDType("promoteTypes", a);
  checkDType("promoteTypes", a);
  checkDType("promoteTypes", b);
  if (a === "bool") return b;
  if (b === "bool") return a;
  if (isFloat(a) !== isFloat(b)) return isFloat(a) ? a : b;
  if (isFloat(a)) {
    if (isFloat8(a) || isFloat8(b)) {
      fail("dtype", "promoteTypes", "float8 types do not mix with others", [a, b], "Cast explicitly with astype.");
    }
    return a === "float64" || b === "float64" ? "float64" : "float32";
  }
  if (a === "uint8") return b;
  if (b === "uint8") return a;
  return "int32";
}
