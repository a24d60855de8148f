/** Between tensors and the bytes of a safetensors file in memory, both ways. */
import { TeError, Tensor } from "@te/tensor";
import { asBytes, checkDType, fail, withDefaults } from "@te/tensor/op";
import { type Conversions, tensorOfBytes } from "./elements.js";
import { failFile, isStoredType, STORED_TYPES, storedTypeOf } from "./format.js";
import { type Described, LENGTH_BYTES, layOut, parseHeader, readHeaderLength } from "./header.js";

/** Tensors by name. */
export type NamedTensors = Readonly<Record<string, Tensor>>;
/** Free text by name, kept in the header. */
export type Metadata = Readonly<Record<string, string>>;

/**
 * Encodes tensors as the bytes of a safetensors file. Every dtype but float64 can be stored.
 * Throws TeError with code "dtype" for others, "option" for values that are no tensors and "file" for the reserved names
 * `__metadata__` and `__proto__`.
 */
export async function encodeSafetensors(tensors: NamedTensors, metadata: Metadata = {}): Promise<Uint8Array> {
  const { header, entries } = layOut("encodeSafetensors", describe("encodeSafetensors", tensors, metadata), metadata);
  const out = allocateBytes("encodeSafetensors", header.length + (entries.at(-1)?.end ?? 0));
  out.set(header);
  for (const { name, begin } of entries) {
    const { buffer, byteOffset, byteLength } = await tensors[name]!.data();
    out.set(new Uint8Array(buffer, byteOffset, byteLength), header.length + begin);
  }
  return out;
}

/** Bytes in memory, or an error that says what to do instead. */
export function allocateBytes(where: string, length: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length);
  } catch (error) {
    const rule = `${where}: the bytes must fit into one array, got ${length}`;
    throw new TeError("memory", `${rule}. Write and read files with writeSafetensors and openSafetensors.`, {
      cause: error,
    });
  }
}

/** What decodeSafetensors gives. */
export interface Decoded {
  /** By name. To ask for one of the `unreadable` is an error that says why. */
  readonly tensors: Record<string, Tensor>;
  readonly metadata: Metadata;
  /** Why tensors could not be read; undefined where all were. */
  readonly unreadable?: Readonly<Record<string, TeError>>;
}

/**
 * Decodes the bytes of a safetensors file, a Buffer or another Uint8Array that begins anywhere. Every tensor gets its own
 * copy. 8- and 16-bit integers are read as int32, and so are 64-bit integers where they fit; floats of 4 and 6 bits and
 * those without negative zero as float32. `convert` asks for dtypes by stored type, such as `{ F64: "float32" }`.
 *
 * Throws TeError with code "file" when the bytes are no such file. A tensor that no dtype holds spoils no other.
 */
export function decodeSafetensors(bytes: Uint8Array, options: { convert?: Conversions } = {}): Decoded {
  const where = "decodeSafetensors";
  const { convert = {} } = withDefaults(where, options, { convert: undefined });
  checkConversions(where, convert);
  const all =
    asBytes(where, "bytes", bytes) ??
    fail(
      "option",
      where,
      "bytes must be a Uint8Array",
      bytes ?? String(bytes),
      "Make one of a buffer: new Uint8Array(buffer).",
    );
  const start = LENGTH_BYTES + readHeaderLength(where, all, all.length);
  const { entries, metadata } = parseHeader(where, all.slice(LENGTH_BYTES, start), all.length - start);
  const named = [...entries.values()].map((entry): [string, Tensor | TeError] => {
    const own = all.slice(start + entry.begin, start + entry.end).buffer;
    return [entry.name, orUnreadable(() => tensorOfBytes(where, entry, own, convert[entry.type]))];
  });
  const { tensors, unreadable } = collect(named);
  return { tensors, metadata, ...(Object.keys(unreadable).length ? { unreadable } : {}) };
}

/** Throws unless every key is a stored type and every value a dtype. */
export function checkConversions(fn: string, convert: Conversions): void {
  if (typeof convert !== "object" || convert === null)
    fail("option", fn, "convert must be an object of dtypes by stored type", convert, 'Such as { F64: "float32" }.');
  for (const [type, dtype] of Object.entries(convert)) {
    if (!isStoredType(type))
      fail("option", fn, "convert must have types of the format as keys", type, `They are ${STORED_TYPES.join(", ")}.`);
    checkDType(fn, dtype);
  }
}

/** What `read` gives, or the error that says that no dtype holds it; other errors are thrown. */
export function orUnreadable(read: () => Tensor): Tensor | TeError {
  try {
    return read();
  } catch (error) {
    if (TeError.is(error) && error.code === "unsupported") return error;
    throw error;
  }
}

/** Tensors by name. The others are no entries, but asking for one by name throws its error. */
export function collect(named: readonly (readonly [string, Tensor | TeError])[]): {
  tensors: Record<string, Tensor>;
  unreadable: Record<string, TeError>;
} {
  const is = ([, found]: readonly [string, Tensor | TeError]): boolean => TeError.is(found);
  const tensors = Object.fromEntries(named.filter((pair) => !is(pair))) as Record<string, Tensor>;
  const unreadable = Object.fromEntries(named.filter(is)) as Record<string, TeError>;
  for (const [name, error] of Object.entries(unreadable)) {
    // Every promise that gives an object asks it for "then".
    if (name === "then") continue;
    const get = (): never => {
      throw error;
    };
    Object.defineProperty(tensors, name, { get, enumerable: false, configurable: true });
  }
  return { tensors, unreadable };
}

/** What the header will say of the tensors, checked before anything is written. */
export function describe(where: string, tensors: NamedTensors, metadata: Metadata): Described[] {
  if (typeof metadata !== "object" || metadata === null)
    fail("option", where, "metadata must be an object of strings by name", metadata);
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== "string") failFile(where, `metadata ${JSON.stringify(key)} must be a string`, value);
    if (key === "__proto__") failFile(where, "metadata may not be named __proto__");
  }
  if (typeof tensors !== "object" || tensors === null || Array.isArray(tensors) || tensors instanceof Tensor)
    fail("option", where, "tensors must be an object of tensors by name", tensors ?? String(tensors));
  return Object.entries(tensors).map(([name, value]) => {
    if (!(value instanceof Tensor))
      fail(
        "option",
        where,
        `${JSON.stringify(name)} must be a tensor`,
        value ?? String(value),
        "Use saveState for trees.",
      );
    const { dtype, shape } = value;
    if (name === "__metadata__" || name === "__proto__") failFile(where, `a tensor may not be named ${name}`);
    const type = storedTypeOf(dtype);
    if (!type) {
      const rule = `${where}: tensor ${JSON.stringify(name)}: ${dtype} cannot be stored`;
      throw new TeError("dtype", `${rule}. Cast it to float32 with astype.`);
    }
    return { name, type, shape };
  });
}
