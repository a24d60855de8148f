/**
 * Static arguments of jit as text: equal for equal values only, so that a function is traced once for each. What text
 * cannot tell apart for sure is refused by name.
 *
 * Plain data, dates, maps, sets and binary data count by value, shared and cyclic parts included; symbols and tensors by
 * identity; functions and instances of classes by identity and the values of their own properties.
 */
import { createHash } from "node:crypto";
import { types } from "node:util";
import { fail } from "../errors.js";
import { formatNumber } from "../op.js";
import { Tensor } from "../tensor.js";
import { isPlainObject } from "../tree.js";

/** Set to true on objects that never change once made, although they have private fields. */
export const UNCHANGING: unique symbol = Symbol.for("te.unchanging") as never;

const DEPTH_LIMIT = 200;
const DIGEST_BYTES = 256;

const identities = new WeakMap<WeakKey, number>();
let nextIdentity = 0;

function identity(of: WeakKey): string {
  let id = identities.get(of);
  if (id === undefined) {
    id = nextIdentity++;
    identities.set(of, id);
  }
  return `#${id}`;
}

/** The key of a static argument. `position` is for errors. */
export function staticKey(value: unknown, position: number): string {
  return new StaticKey(position).of(value, "", 0);
}

class StaticKey {
  private readonly seen = new Map<object, number>();

  constructor(private readonly position: number) {}

  of(value: unknown, path: string, depth: number): string {
    switch (typeof value) {
      case "number":
        return formatNumber(value);
      case "bigint":
        return `${value}n`;
      case "string":
        return JSON.stringify(value);
      case "symbol": {
        const name = Symbol.keyFor(value);
        return name === undefined ? identity(value as unknown as WeakKey) : `@${JSON.stringify(name)}`;
      }
      case "function": {
        const extras = this.seen.has(value) ? [] : Object.keys(value);
        if (extras.length === 0) return identity(value);
        this.seen.set(value, this.seen.size);
        return `${identity(value)}{${extras.map((key) => this.property(value, key, path, depth)).join(",")}}`;
      }
      case "object":
        return value === null ? "null" : this.ofObject(value, path, depth);
      default:
        return String(value);
    }
  }

  private ofObject(value: object, path: string, depth: number): string {
    if (value instanceof Tensor) return identity(value);
    const before = this.seen.get(value);
    if (before !== undefined) return `^${before}`; // the same object as one before, perhaps one around it
    this.seen.set(value, this.seen.size);
    if (depth > DEPTH_LIMIT) this.refuse(path, `has more than ${DEPTH_LIMIT} levels`);
    if (types.isProxy(value)) this.refuse(path, "is a Proxy, whose values a key cannot hold");
    return `${this.kind(value, path)}${this.content(value, path, depth)}${this.properties(value, path, depth)}`;
  }

  /** Nothing for plain data; the identity of what makes an object more than its content. */
  private kind(value: object, path: string): string {
    if (isPlainObject(value)) return Object.getPrototypeOf(value) === null ? "bare" : "";
    const prototype = Object.getPrototypeOf(value);
    if (prototype !== null && isBuiltIn(prototype)) return prototype.constructor.name;
    if (hasPrivateFields(prototype) && !(value as { [UNCHANGING]?: boolean })[UNCHANGING] && !Object.isFrozen(value))
      this.refuse(path, "has private fields, which a key cannot hold");
    const inherits = prototype !== null && !Object.hasOwn(prototype, "constructor"); // values, not a class
    return identity(value) + (inherits ? this.of(prototype, path, 0) : "");
  }

  /** What an object holds besides its properties. */
  private content(value: object, path: string, depth: number): string {
    const each = (items: Iterable<unknown>): string =>
      Array.from(items, (item) => this.of(item, path, depth + 1)).join(",");
    if (types.isDate(value)) return `(${Date.prototype.getTime.call(value)})`;
    if (types.isRegExp(value)) return `(${JSON.stringify(value.source)},${value.flags})`;
    if (types.isMap(value)) return `(${each([...Map.prototype.entries.call(value)].flat())})`;
    if (types.isSet(value)) return `(${each(Set.prototype.values.call(value))})`;
    if (types.isBoxedPrimitive(value)) return `(${this.of(unbox(value), path, depth)})`;
    if (ArrayBuffer.isView(value)) return `(${bytes(value.buffer, value.byteOffset, value.byteLength)})`;
    if (types.isAnyArrayBuffer(value)) return `(${bytes(value, 0, value.byteLength)})`;
    for (const [is, what] of OPAQUE) if (is(value)) this.refuse(path, `is a ${what}, whose values a key cannot hold`);
    return "";
  }

  /** Own properties in their order: names, values, and that they are not enumerable. */
  private properties(value: object, path: string, depth: number): string {
    const list = Array.isArray(value);
    if (ArrayBuffer.isView(value) && !types.isProxy(value) && "length" in value) return this.extras(value, path, depth);
    const parts: string[] = list ? [`${value.length}`] : [];
    for (const key of Reflect.ownKeys(value)) {
      if (list && key === "length") continue;
      parts.push(this.property(value, key, path, depth));
    }
    return list ? `[${parts.join(",")}]` : `{${parts.join(",")}}`;
  }

  /** Properties of a typed array besides its elements. */
  private extras(value: object, path: string, depth: number): string {
    const count = (value as { length: number }).length;
    const keys = Reflect.ownKeys(value).slice(count);
    return `{${keys.map((key) => this.property(value, key, path, depth)).join(",")}}`;
  }

  private property(of: object, key: string | symbol, path: string, depth: number): string {
    const here = `${path}.${String(key)}`;
    const found = Object.getOwnPropertyDescriptor(of, key)!;
    if (!("value" in found)) this.refuse(here, "is a getter, which may give another value each time");
    return `${this.of(key, here, depth)}${found.enumerable ? ":" : "!"}${this.of(found.value, here, depth + 1)}`;
  }

  private refuse(path: string, why: string): never {
    const rule = `static argument ${this.position}${path && ` at ${path.slice(1)}`} ${why}`;
    return fail("option", "jit", rule, undefined, "Pass plain data, a frozen object, or what f needs of it.");
  }
}

const OPAQUE: readonly (readonly [is: (value: object) => boolean, what: string])[] = [
  [types.isPromise, "Promise"],
  [types.isWeakMap, "WeakMap"],
  [types.isWeakSet, "WeakSet"],
  [types.isGeneratorObject, "generator"],
  [types.isMapIterator, "iterator"],
  [types.isSetIterator, "iterator"],
];

/** The prototypes whose instances hold content and properties only, of this realm or another. */
const BUILT_IN = new Set(
  "Array Map Set Date RegExp Number String Boolean BigInt Symbol ArrayBuffer SharedArrayBuffer DataView Buffer"
    .concat(" Int8Array Uint8Array Uint8ClampedArray Int16Array Uint16Array Int32Array Uint32Array")
    .concat(" Float16Array Float32Array Float64Array BigInt64Array BigUint64Array")
    .split(" "),
);

function isBuiltIn(prototype: object): boolean {
  const made = Object.getOwnPropertyDescriptor(prototype, "constructor")?.value as unknown;
  return typeof made === "function" && BUILT_IN.has(made.name) && (isNative(made) || made === Buffer);
}

const isNative = (f: object): boolean => /\{\s*\[native code\]\s*\}$/.test(Function.prototype.toString.call(f));

/** Whether a class on the way up declares private names, which no one outside can see change. */
function hasPrivateFields(prototype: object | null): boolean {
  for (let p = prototype; p; p = Object.getPrototypeOf(p)) {
    const made = Object.getOwnPropertyDescriptor(p, "constructor")?.value as unknown;
    if (typeof made === "function" && /(^|[^\w$"'`#&])#[A-Za-z_$]/m.test(Function.prototype.toString.call(made)))
      return true;
  }
  return false;
}

function unbox(value: object): unknown {
  if (types.isNumberObject(value)) return Number.prototype.valueOf.call(value);
  if (types.isStringObject(value)) return String.prototype.valueOf.call(value);
  if (types.isBooleanObject(value)) return Boolean.prototype.valueOf.call(value);
  if (types.isBigIntObject(value)) return BigInt.prototype.valueOf.call(value);
  return Symbol.prototype.valueOf.call(value);
}

function bytes(buffer: ArrayBufferLike, offset: number, length: number): string {
  const view = new Uint8Array(buffer, offset, length);
  if (length <= DIGEST_BYTES) return Buffer.from(view).toString("hex");
  return `${length}:${createHash("sha256").update(view).digest("hex")}`;
}
