import { bytesOf, fail, TeError, Tensor, tensor, viewAs } from "@te/tensor";
import { dtypeOf, type Entry, failFile, storedTypeOf } from "./format.js";
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
  const out = new Uint8Array(header.length + (entries.at(-1)?.end ?? 0));
  out.set(header);
  for (const { name, begin } of entries) out.set(await bytesOfTensor(tensors[name]!), header.length + begin);
  return out;
}

/** Decodes the bytes of a safetensors file. Throws TeError with code "file" when they are not one. */
export function decodeSafetensors(bytes: Uint8Array): { tensors: Record<string, Tensor>; metadata: Metadata } {
  const where = "decodeSafetensors";
  if (!(bytes instanceof Uint8Array)) fail("option", where, "bytes must be a Uint8Array", bytes ?? String(bytes));
  const start = LENGTH_BYTES + readHeaderLength(where, bytes, bytes.length);
  const { entries, metadata } = parseHeader(where, bytes.subarray(LENGTH_BYTES, start), bytes.length - start);
  const read = (entry: Entry) => tensorOfBytes(where, entry, bytes.slice(start + entry.begin, start + entry.end));
  return { tensors: Object.fromEntries([...entries.values()].map((entry) => [entry.name, read(entry)])), metadata };
}

/** What the header will say of the tensors, checked before anything is written. */
export function describe(where: string, tensors: NamedTensors, metadata: Metadata): Described[] {
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

/** The bytes of a tensor in the order of the file: row-major, little-endian. */
export async function bytesOfTensor(t: Tensor): Promise<Uint8Array> {
  const data = await t.data();
  return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
}

/** Makes the tensor of an entry from its bytes, which begin at the start of a buffer of their own. */
export function tensorOfBytes(where: string, { name, type, shape }: Entry, bytes: Uint8Array): Tensor {
  const of = `tensor ${JSON.stringify(name)}`;
  const dtype = dtypeOf(type);
  if (!dtype) throw new TeError("unsupported", `${where}: ${of}: there is no tensor dtype for ${type}.`);
  if (dtype === "bool") {
    const odd = bytes.find((byte) => byte > 1);
    if (odd !== undefined) failFile(where, `${of}: BOOL elements must be 0 or 1`, odd);
  }
  if (bytes.length % bytesOf(dtype) !== 0) failFile(where, `${of}: elements must be whole`, `${bytes.length} bytes`);
  return tensor(viewAs(dtype, bytes), { shape, dtype });
}
