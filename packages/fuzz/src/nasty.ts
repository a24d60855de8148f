/** Values that no function expects, and slightly wrong ones made of right ones. */
import { DTYPES, type DType, makeProgram, Tensor, tensor } from "@te/tensor";
import { isFloat } from "@te/tensor/op";
import type { Draw } from "./draw.js";

/** Thrown by functions that the fuzzer passes: it may come back as it is. */
export class FromCallback extends Error {
  override readonly name = "FromCallback";
}

/** A tensor of small numbers. */
export function drawTensor(draw: Draw, shape: readonly number[], dtype: DType = "float32"): Tensor {
  const size = shape.reduce((product, d) => product * d, 1);
  const value = (): number => (isFloat(dtype) ? draw.normal() : dtype === "bool" ? draw.below(2) : draw.below(3));
  const numbers = Float64Array.from({ length: size }, value);
  return dtype === "float8_e8m0fnu"
    ? tensor(
        Uint8Array.from(numbers, () => draw.integer(120, 130)),
        { shape, dtype },
      )
    : tensor(numbers, { shape, dtype: dtype === "float64" ? "float32" : dtype });
}

/** Beyond 32 bits. Under sanitizers no limit of memory ends what makes something of that length: it would take minutes. */
const FAR = process.env.TE_SANITIZE === "1" ? 2 ** 24 : 2 ** 31;
const SHAPES = [[], [0], [1], [2], [3], [2, 3], [3, 2], [2, 0], [1, 2, 3], [2, 3, 4], [2, 2, 2, 2], [0, FAR]];
const WIDE = DTYPES.filter((dtype) => dtype !== "float64");

/** A tensor that a call may not expect: of any shape and dtype, disposed, or left over from a trace. */
export function oddTensor(draw: Draw): Tensor {
  const t = drawTensor(draw, draw.pick(SHAPES), draw.pick(WIDE));
  const kind = draw.next();
  if (kind < 0.05) t.dispose();
  if (kind < 0.95) return t;
  let left = t;
  makeProgram((x: Tensor) => {
    left = x;
    return x;
  })(t);
  return left;
}

const NUMBERS = [
  ...[0, -0, 1, -1, 2, 3, 7, 0.5, -0.5, 1e-45, 1e308, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  ...[2 ** 31 - 1, 2 ** 31, -(2 ** 31) - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 48, 2 ** 53, -(2 ** 53), 2 ** 64],
];

const TEXTS = [
  "",
  "x",
  "float32",
  "int64",
  "toString",
  "__proto__",
  "constructor",
  "0",
  "->",
  "...",
  "a,b->c",
  "\u0000",
  "é",
];

function cyclicList(): unknown[] {
  const list: unknown[] = [1];
  list.push(list);
  return list;
}

function cyclicRecord(): object {
  const record: Record<string, unknown> = { a: 1 };
  record.self = record;
  return record;
}

function nested(depth: number): unknown {
  let list: unknown = 1;
  for (let i = 0; i < depth; i++) list = [list];
  return list;
}

function detached(): Float32Array {
  const array = new Float32Array(4);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

const throwing = (): never => {
  throw new FromCallback("from a callback");
};

const OBJECTS: readonly ((draw: Draw) => unknown)[] = [
  () => ({}),
  () => ({ x: 1 }),
  () => ({ shape: [2, 3], dtype: "float32" }),
  () => ({ shape: "no list", dtype: "float32" }),
  () => ({ length: 2 }),
  () => Object.create(null),
  () => ({ constructor: 5, toString: 5 }),
  () => [],
  () => [undefined],
  () => [null],
  () => [Symbol("s")],
  () => [[1], [2, 3]],
  () => ["a", 1],
  () => new Array(5),
  () => new Array(2 ** 32 - 1),
  () => cyclicList(),
  () => cyclicRecord(),
  () => nested(20_000),
  () => new Map([["a", 1]]),
  () => new Set([1]),
  () => new Date(0),
  () => /x/,
  () => new Error("e"),
  () => Promise.resolve(1),
  () => new Proxy({}, {}),
  () => new Proxy([1, 2], {}),
  () => new Proxy({}, { get: throwing, has: throwing, ownKeys: throwing }),
  () => Object.freeze([2, 3]),
  () => new Float32Array([1, 2, 3]),
  () => new Float64Array(2),
  () => new Uint16Array(2),
  () => new BigInt64Array(2),
  () => new Int8Array(3),
  () => new DataView(new ArrayBuffer(8)),
  () => new ArrayBuffer(8),
  () => new SharedArrayBuffer(8),
  () => Buffer.from("abc"),
  () => detached(),
  () => () => undefined,
  () => (x: unknown) => x,
  () => throwing,
  () => async () => 1,
];

/** A value of any kind at all. */
export function nasty(draw: Draw): unknown {
  const kind = draw.next();
  if (kind < 0.16) return draw.pick([undefined, null, true, false, Symbol("s"), 5n]);
  if (kind < 0.4) return draw.pick(NUMBERS);
  if (kind < 0.48) return draw.pick(TEXTS);
  if (kind < 0.66) return oddTensor(draw);
  if (kind < 0.72) return Array.from({ length: draw.integer(0, 4) }, () => draw.pick(NUMBERS));
  if (kind < 0.76) return Array.from({ length: draw.integer(1, 3) }, () => oddTensor(draw));
  return draw.pick(OBJECTS)(draw);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && [Object.prototype, null].includes(Object.getPrototypeOf(value));

/** The value with one thing in it replaced, left out, repeated or added. */
export function damage(draw: Draw, value: unknown, depth = 0): unknown {
  const inside = depth < 4 && draw.chance(0.75);
  if (inside && Array.isArray(value) && value.length > 0 && value.length < 100) return damageList(draw, value, depth);
  if (inside && isRecord(value)) return damageRecord(draw, value, depth);
  if (value instanceof Tensor && draw.chance(0.6)) return oddTensor(draw);
  if (typeof value === "number" && draw.chance(0.5)) return draw.pick(NUMBERS);
  return nasty(draw);
}

function damageList(draw: Draw, list: readonly unknown[], depth: number): unknown[] {
  const at = draw.below(list.length);
  const kind = draw.next();
  if (kind < 0.15) return list.filter((_, i) => i !== at);
  if (kind < 0.25) return [...list, list[at]];
  return list.map((item, i) => (i === at ? damage(draw, item, depth + 1) : item));
}

function damageRecord(draw: Draw, record: Readonly<Record<string, unknown>>, depth: number): Record<string, unknown> {
  const keys = Object.keys(record);
  const kind = draw.next();
  if (keys.length === 0 || kind < 0.1) return { ...record, [draw.pick([...TEXTS, ...keys])]: nasty(draw) };
  const key = draw.pick(keys);
  if (kind < 0.2) return Object.fromEntries(Object.entries(record).filter(([name]) => name !== key));
  return { ...record, [key]: damage(draw, record[key], depth + 1) };
}
