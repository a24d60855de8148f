/**
 * Arrays that users hand over, told by what their elements are and not by who made them: a Buffer, a subclass, an array of
 * another realm and one over shared memory are all what their bytes say.
 */
import type { DType } from "./dtype.js";
import { fail } from "./errors.js";
import { expectString } from "./expect.js";

const TypedArrayPrototype = Object.getPrototypeOf(Uint8Array.prototype);
const getter = (name: PropertyKey): ((this: unknown) => unknown) =>
  Object.getOwnPropertyDescriptor(TypedArrayPrototype, name)!.get!;
// The getters of the language read what an array is; a subclass can neither hide nor change that.
const [tagOf, bufferOf, offsetOf, lengthOf] = [Symbol.toStringTag, "buffer", "byteOffset", "length"].map(getter) as [
  (this: unknown) => string | undefined,
  (this: unknown) => ArrayBuffer,
  (this: unknown) => number,
  (this: unknown) => number,
];

type Kind = "float16" | "float32" | "float64" | "int8" | "uint8" | "int16" | "uint16" | "int32" | "uint32";

/** What holds the elements of a kind. float16 has no class in Node 20: its elements are codes. */
const KINDS: Readonly<
  Record<string, readonly [Kind, { new (b: ArrayBuffer, at: number, n: number): ArrayLike<number> }]>
> = {
  Float16Array: ["float16", Uint16Array],
  Float32Array: ["float32", Float32Array],
  Float64Array: ["float64", Float64Array],
  Int8Array: ["int8", Int8Array],
  Uint8Array: ["uint8", Uint8Array],
  Uint8ClampedArray: ["uint8", Uint8Array],
  Int16Array: ["int16", Int16Array],
  Uint16Array: ["uint16", Uint16Array],
  Int32Array: ["int32", Int32Array],
  Uint32Array: ["uint32", Uint32Array],
};

/** The kinds whose elements are the codes of a dtype, bit for bit. */
const CODES: Readonly<Record<DType, readonly Kind[]>> = {
  float32: ["float32"],
  bfloat16: ["uint16"],
  float16: ["uint16", "float16"],
  float8_e4m3fn: ["uint8"],
  float8_e5m2: ["uint8"],
  float8_e8m0fnu: ["uint8"],
  int32: ["int32"],
  uint32: ["uint32"],
  uint8: ["uint8"],
  bool: [],
  float64: ["float64"],
};

/** The elements of a typed array, seen through an array of this realm that shares its memory. */
export interface HostElements {
  readonly kind: Kind;
  /** Numbers; codes where the kind is float16. */
  readonly elements: ArrayLike<number>;
}

/** Whether the elements of an array are the codes of a dtype as they are. */
export const holdsCodes = (kind: Kind, dtype: DType): boolean => CODES[dtype].includes(kind);

/** Reads a typed array of numbers. Throws TeError for views that are none, 64-bit integers and memory that is gone. */
export function elementsOf(fn: string, what: string, view: ArrayBufferView): HostElements {
  const tag = tagOf.call(view);
  if (tag === undefined)
    fail(
      "dtype",
      fn,
      `${what} must be an array of numbers`,
      "DataView",
      "Make one over its bytes: new Float32Array(view.buffer).",
    );
  const known = KINDS[tag];
  if (!known) {
    const wayOut = "Convert it with Array.from(data, Number).";
    fail("dtype", fn, `${what} must be an array of numbers`, tag, wayOut);
  }
  checkMemory(fn, what, tag, view);
  const [kind, View] = known;
  return { kind, elements: new View(bufferOf.call(view), offsetOf.call(view), lengthOf.call(view)) };
}

/** An array whose buffer was transferred, or shrank under it, has no elements any more. */
function checkMemory(fn: string, what: string, tag: string, view: ArrayBufferView): void {
  try {
    TypedArrayPrototype.keys.call(view);
  } catch {
    const rule = `${what} must have its memory, but the buffer of this ${tag} was transferred or became shorter`;
    fail("disposed", fn, rule, undefined, "Copy it with slice() before it is given away.");
  }
}

/** The bytes of a Uint8Array of any maker, such as a Buffer; undefined for everything else. */
export function asBytes(fn: string, what: string, value: unknown): Uint8Array<ArrayBuffer> | undefined {
  expectString("asBytes", { what });
  if (!ArrayBuffer.isView(value) || tagOf.call(value) === undefined) return undefined;
  const { kind, elements } = elementsOf(fn, what, value);
  return kind === "uint8" ? (elements as Uint8Array<ArrayBuffer>) : undefined;
}
