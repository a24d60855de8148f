/** The class Tensor: what an array knows of itself, and how its values are read. */
import { type Aval, checkShape, formatAval, MAX_RANK, sizeOf } from "./aval.js";
import type { Backend, DeviceBuffer } from "./backend.js";
import { bytesOf, checkDType, type DType, isFloat, type TypedArray } from "./dtype.js";
import { COPY, fail, THIS_COPY } from "./errors.js";
import { expectObject, expectTyped } from "./expect.js";
import { fromFloat64, toFloat64 } from "./float-codes.js";
import { formatTensor } from "./format.js";
import { elementsOf, holdsCodes } from "./host-array.js";
import { checkHolds } from "./integers.js";
import type { TensorMethods } from "./methods.js";
import { withDefaults } from "./options.js";
import { decodeInPieces, type NestedArray, nestInPieces } from "./pieces.js";
import { Storage } from "./storage.js";
import type { Trace } from "./trace.js";

/** A tensor's bytes are on a device. Without a throwing property a clone would be an object without them. */
const NO_CLONE = {
  get storage(): never {
    return fail(
      "unsupported",
      "structuredClone",
      "a tensor cannot be cloned or sent to another thread",
      undefined,
      "Send await t.data(), t.shape and t.dtype, and make it again there: tensor(data, { shape, dtype }).",
    );
  },
};

// The methods that are ops (add, mul, sum, …) are attached by methods.ts.
export interface Tensor extends TensorMethods {}

/**
 * An array with a shape and a dtype: either concrete, with bytes on a device, or traced, a value of a program that is
 * being built. Tensors are immutable.
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: methods.ts puts the op methods on the prototype
export class Tensor implements Aval {
  readonly #of: Aval;
  readonly #trace: Trace | undefined;
  readonly #storage: Storage | undefined;
  /** @internal What structuredClone and postMessage read first: reading on throws. */
  readonly clone = NO_CLONE;

  private constructor(of: Aval, trace: Trace | undefined, storage: Storage | undefined) {
    this.#of = of;
    this.#trace = trace;
    this.#storage = storage;
  }

  /** @internal */
  static traced(of: Aval, trace: Trace): Tensor {
    return new Tensor(of, trace, undefined);
  }

  /** @internal */
  static concrete(storage: Storage): Tensor {
    return new Tensor(storage.aval, undefined, storage);
  }

  /** Lengths of the axes; frozen. */
  get shape(): readonly number[] {
    return this.#of.shape;
  }

  set shape(_: readonly number[]) {
    fail("unsupported", "Tensor", "the shape of a tensor does not change", undefined, "Call reshape(shape).");
  }

  get dtype(): DType {
    return this.#of.dtype;
  }

  set dtype(_: DType) {
    fail("unsupported", "Tensor", "the dtype of a tensor does not change", undefined, "Call astype(dtype).");
  }

  /** @internal The trace this value belongs to, when it is traced. */
  get trace(): Trace | undefined {
    return this.#trace;
  }

  /** @internal */
  get storage(): Storage | undefined {
    return this.#storage;
  }

  get rank(): number {
    return this.shape.length;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  /** "cpu", "cuda", "reference", or "traced". */
  get device(): string {
    return this.storage ? this.storage.device : "traced";
  }

  /** @internal The storage, or an error for a traced tensor. */
  expectStorage(fn: string): Storage {
    return (
      this.storage ??
      fail(
        "traced",
        fn,
        `${formatAval(this)} is traced and has no data yet`,
        undefined,
        "Return it from the jit function and read the result.",
      )
    );
  }

  /**
   * The elements in row-major order: numbers for 32-bit types, 16- or 8-bit codes for bfloat16, float16 and float8.
   * Waits for the programs that produce them and rejects with their error. Like values, toArray and item it throws at once
   * for a traced tensor, so that the error comes from where a jit function reads data.
   */
  data(): Promise<TypedArray> {
    return this.expectStorage("data").read();
  }

  /** Like data(), blocking. */
  dataSync(): TypedArray {
    return this.expectStorage("dataSync").readSync();
  }

  /** The elements as numbers, decoded from narrow types. */
  values(): Promise<Float64Array> {
    return this.decode("values");
  }

  /** Nested arrays of numbers (booleans for bool). */
  toArray(): Promise<NestedArray> {
    let [lists, made] = [0, 1];
    for (const d of this.shape) [lists, made] = [lists + made, made * d];
    if (lists > MOST_LISTS || this.size > MOST_NUMBERS)
      fail("memory", "toArray", "the nested arrays would not fit into memory", this, "Read await t.data() instead.");
    return this.decode("toArray").then((values) => nestInPieces(values, this.shape, this.dtype === "bool"));
  }

  /** The one element of a tensor of size 1. */
  item(): Promise<number> {
    this.expectStorage("item");
    return this.onlyElement();
  }

  private async onlyElement(): Promise<number> {
    if (this.size !== 1) fail("shape", "item", "the tensor must have one element", this, "Index or reduce it first.");
    return (await this.decode("item"))[0]!;
  }

  private decode(fn: string): Promise<Float64Array> {
    const data = this.expectStorage(fn).read();
    return data.then((codes) => decodeInPieces(this.dtype, codes));
  }

  /** Frees the memory now instead of at garbage collection. Further use is an error; a second call does nothing. */
  dispose(): void {
    this.storage?.dispose();
  }

  /** @internal */
  get [COPY](): object {
    return THIS_COPY;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return formatTensor(this);
  }

  /** Throws: JSON cannot wait for a device. */
  toJSON(): never {
    return fail(
      "unsupported",
      "JSON.stringify",
      "a tensor has no JSON form, because reading it takes a while",
      this,
      "Stringify await t.toArray(), or save tensors with saveState or writeSafetensors of @te/checkpoint.",
    );
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  /** The text in strings; operators of JavaScript, which would compare or join that text, throw. */
  [Symbol.toPrimitive](hint: string): string {
    if (hint === "string") return this.toString();
    return fail(
      "unsupported",
      "Tensor",
      "+, <, == and other operators do not compute with tensors",
      this,
      "Use methods, such as x.add(y) and x.lt(y), item() for a number, and String(x) for text.",
    );
  }
}

/** What nested arrays may hold: each list and number takes tens of bytes, and a full heap ends the process. */
const MOST_LISTS = 2 ** 24;
const MOST_NUMBERS = 2 ** 26;

/**
 * Makes a tensor from a number, nested arrays, or a typed array. Without `dtype`: Float32Array and numbers give float32,
 * Int32Array int32, Uint32Array uint32, Uint8Array uint8, Float16Array float16, booleans bool. A Uint16Array holds codes and
 * needs dtype bfloat16 or float16; a Uint8Array with a float8 dtype holds codes too. Subclasses such as Buffer, arrays over
 * shared memory and arrays of other realms are what their elements are. Typed arrays are copied; with another dtype than
 * their own they are converted: to floats rounding to nearest, to integers toward zero and saturating, to bool as true but for 0.
 *
 * Throws TeError: "dtype" for numbers that an integer dtype, or bool, does not hold, and for arrays of 64-bit integers,
 * "shape" for ragged arrays, "disposed" for arrays whose buffer was transferred.
 */
export function tensor(
  data: NestedArray | TypedArray,
  options: { shape?: readonly number[]; dtype?: DType } = {},
): Tensor {
  const { shape, dtype } = withDefaults("tensor", options, { shape: undefined, dtype: undefined });
  if (dtype !== undefined) checkDType("tensor", dtype);
  if (ArrayBuffer.isView(data)) return fromTyped(data, shape, dtype);
  const found: number[] = [];
  const inferred = measure(data as NestedArray, found);
  const boolean = typeof firstLeaf(data as NestedArray) === "boolean";
  const type = dtype ?? (boolean ? "bool" : "float32");
  if (!isFloat(type))
    for (const value of found) checkHolds("tensor", "every element", value, type, "Choose a float dtype.");
  return place(shape ?? inferred, type, fromFloat64(type, found));
}

function fromTyped(data: ArrayBufferView, shape: readonly number[] | undefined, dtype: DType | undefined): Tensor {
  const { kind, elements } = elementsOf("tensor", "data", data);
  const own = dtype ?? OWN_DTYPE[kind] ?? failWithoutDType(kind);
  const target = shape ?? [elements.length];
  if (holdsCodes(kind, own)) return place(target, own, elements as TypedArray, Storage.ofCopy);
  if (kind === "uint16") {
    const rule = "a Uint16Array holds bfloat16 or float16 codes and needs that dtype";
    fail("dtype", "tensor", rule, own, 'Pass { dtype: "bfloat16" }, or numbers in a Float32Array.');
  }
  const numbers = kind === "float16" ? toFloat64("float16", elements as TypedArray) : elements;
  return place(target, own, fromFloat64(own, numbers));
}

/** The dtype of an array that comes without one. */
const OWN_DTYPE: Readonly<Record<string, DType>> = {
  float16: "float16",
  float32: "float32",
  float64: "float32",
  int32: "int32",
  uint32: "uint32",
  uint8: "uint8",
};

function failWithoutDType(kind: string): never {
  const rule = "dtype is required for this array type";
  return fail("dtype", "tensor", rule, `an array of ${kind}`, 'Pass { dtype: "bfloat16" } or another dtype.');
}

/** @internal A tensor that takes its array over instead of copying it: nobody writes to it any more. */
export function tensorOwning(data: TypedArray, shape: readonly number[], dtype: DType): Tensor {
  expectTyped("tensorOwning", { data });
  if (data.BYTES_PER_ELEMENT !== bytesOf(dtype))
    fail("dtype", "tensorOwning", `data must have elements of ${bytesOf(dtype)} bytes`, data.BYTES_PER_ELEMENT);
  return place(shape, dtype, data);
}

/** @internal A tensor whose bytes a device has: `buffer` is memory of `backend`. */
export function tensorOnDevice(shape: readonly number[], dtype: DType, buffer: DeviceBuffer, backend: Backend): Tensor {
  checkShape("tensorOnDevice", shape);
  checkDType("tensorOnDevice", dtype);
  expectObject("tensorOnDevice", { buffer, backend });
  return Tensor.concrete(Storage.ofBuffer({ shape: Object.freeze([...shape]), dtype }, buffer, backend));
}

function place(shape: readonly number[], dtype: DType, data: TypedArray, store = Storage.ofHost): Tensor {
  checkShape("tensor", shape);
  if (sizeOf(shape) !== data.length) {
    fail("shape", "tensor", `shape [${shape.join(",")}] needs ${sizeOf(shape)} elements`, data.length, "Leave it out.");
  }
  return Tensor.concrete(store({ shape: Object.freeze([...shape]), dtype }, data));
}

function firstLeaf(data: NestedArray): number | boolean | undefined {
  return Array.isArray(data) ? (data.length ? firstLeaf(data[0]) : undefined) : (data as number | boolean);
}

/** What to do with a value that is no element. */
function wayOutOf(value: unknown): string | undefined {
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  if (/ArrayBuffer$/.test(tag)) return "Make an array over it, such as new Float32Array(buffer).";
  const isList = typeof value === "object" && value !== null && "length" in value;
  return isList ? "Convert it with Array.from." : undefined;
}

/** Collects the leaves and returns the shape; ragged arrays are an error. */
function measure(data: NestedArray, into: number[], depth = 0): number[] {
  if (!Array.isArray(data)) {
    if (typeof data !== "number" && typeof data !== "boolean")
      fail("dtype", "tensor", "elements must be numbers or booleans", data ?? String(data), wayOutOf(data));
    into.push(Number(data));
    return [];
  }
  if (depth === MAX_RANK)
    fail("shape", "tensor", `nested arrays may have ${MAX_RANK} levels and must not contain themselves`, data);
  const shapes: number[][] = [];
  // By index, because holes count.
  for (let i = 0; i < data.length; i++) shapes.push(measure(data[i]!, into, depth + 1));
  const first = shapes[0] ?? [];
  const odd = shapes.find((s) => s.length !== first.length || s.some((d, i) => d !== first[i]));
  if (odd)
    fail(
      "shape",
      "tensor",
      `nested arrays must be rectangular, but [${first.join(",")}] stands beside [${odd.join(",")}]`,
    );
  return [data.length, ...first];
}

/** Whether a value is a tensor of a floating dtype. */
export const isFloatTensor = (t: Tensor): boolean => t instanceof Tensor && isFloat(t.dtype);
