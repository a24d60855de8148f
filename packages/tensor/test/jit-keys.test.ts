/** Which calls of a jit function share a program: those that cannot differ, and no others. */
import { runInNewContext } from "node:vm";
import { grad, jit, type Tensor, tensor } from "@te/tensor";
import { defineOp, wholeRule } from "@te/tensor/op";
import { describe, expect, test } from "vitest";

const x = tensor([1]);

/** Counts how often f is traced for a row of values of its second argument. */
function traces(values: readonly unknown[]): number {
  let count = 0;
  const f = jit(
    (x: Tensor, _: unknown) => {
      count++;
      return x.add(count);
    },
    { staticArgnums: [1] },
  );
  for (const value of values) f(x, value);
  return count;
}

class Box {
  constructor(public c: unknown) {}
}
class Hidden {
  #c: number;
  constructor(c: number) {
    this.#c = c;
  }
  get c(): number {
    return this.#c;
  }
}
class Bare extends Array {}
const loop = (label: string) => {
  const a: any = { label };
  a.self = [a];
  return a;
};
const shared = (() => {
  const part = { k: 1 };
  return [part, part];
})();

describe("static values that differ have programs of their own", () => {
  const pairs: Record<string, readonly unknown[]> = {
    numbers: [0, -0, 1, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1n, "1", "NaN", Object(1)],
    "null and undefined": [null, undefined, "null", "undefined", false, 0, ""],
    "values in records": [{ c: 0 }, { c: -0 }, { c: Number.NaN }, { c: null }, { c: undefined }, {}, { c: "null" }],
    "values in lists": [[], [null], [undefined], new Array(1), [Number.NaN], [[]], [0], [-0], [1n]],
    symbols: [Symbol("a"), Symbol("a"), Symbol.for("a"), Symbol.for("b"), Symbol.iterator],
    "symbols as keys": [{}, { [Symbol.for("k")]: 1 }, { [Symbol.for("k")]: 2 }],
    dates: [new Date(0), new Date(1), new Date(Number.NaN), 0, "1970-01-01T00:00:00.000Z", { date: new Date(0) }],
    maps: [new Map(), new Map([["a", 1]]), new Map([["a", 2]]), new Map([[1, "a"]]), {}, new Map([[{}, 1]])],
    sets: [new Set(), new Set([1]), new Set([-1]), new Set([[1]]), [1]],
    "binary data": [
      new Uint8Array([1]),
      new Uint8Array([2]),
      new Int8Array([1]),
      new Uint8Array([1]).buffer,
      new DataView(new Uint8Array([1]).buffer),
      Buffer.from([1]),
      new Float32Array(100),
      new Float32Array(100).fill(1),
      [1],
    ],
    regexps: [/a/, /b/, /a/g, "/a/"],
    "instances of one class": [new Box(1), new Box(1), new Box(2)],
    "instances in a record": [{ box: new Box(1) }, { box: new Box(1) }],
    "instances with private fields": [Object.freeze(new Hidden(1)), Object.freeze(new Hidden(2))],
    "instances with private fields, in a list": [[Object.freeze(new Hidden(1))], [Object.freeze(new Hidden(2))]],
    "subclasses and prototypes": [[], new Bare(), {}, Object.create(null), Object.create({ c: 1 })],
    functions: [() => 1, () => 1, Math.sin, Box],
    cycles: [loop("a"), loop("b"), [loop("a")]],
    "shared parts and copies": [shared, [{ k: 1 }, { k: 1 }]],
    "boxed primitives": [Object(1), Object(2), Object("1"), Object(true), Object(1n), new Number(-0), new Number(0)],
    "properties out of sight": [
      { a: 1 },
      Object.defineProperty({}, "a", { value: 1 }),
      Object.assign([1], { a: 1 }),
      [1],
    ],
    tensors: [tensor([1]), tensor([1])],
  };
  for (const [name, values] of Object.entries(pairs)) test(name, () => expect(traces(values)).toBe(values.length));
});

describe("static values that are equal share a program", () => {
  const equal: Record<string, () => unknown> = {
    numbers: () => Number.NaN,
    bigints: () => 12n,
    "records in records": () => ({ a: [1, { b: "c", d: null, e: -0 }] }),
    "records of another realm": () => runInNewContext("({ a: [1, 2] })"),
    dates: () => new Date(7),
    "maps and sets": () => new Map([[{ k: 1 }, new Set([1, "a"])]]),
    "binary data": () => new Float32Array(1000).fill(3),
    cycles: () => loop("a"),
    boxed: () => Object("text"),
  };
  for (const [name, make] of Object.entries(equal)) test(name, () => expect(traces([make(), make()])).toBe(1));
  test("an instance, a function and a symbol are themselves", () => {
    for (const value of [new Box(1), () => 1, Symbol("s"), x]) expect(traces([value, value])).toBe(1);
  });
});

describe("what changes between calls is seen", () => {
  const changes: Record<string, [value: any, change: (value: any) => void]> = {
    "a field of an instance": [new Box(1), (box) => (box.c = 2)],
    "a record in an instance": [new Box({ k: 1 }), (box) => (box.c.k = 2)],
    "a map": [new Map([["a", 1]]), (map) => map.set("a", 2)],
    "an element": [new Float32Array(1000), (array) => (array[999] = 1)],
    "a prototype of values": [Object.create({ c: 1 }), (made) => (Object.getPrototypeOf(made).c = 2)],
    "a property of a function": [Object.assign(() => 1, { k: 1 }), (f) => (f.k = 2)],
    "a date": [new Date(0), (date) => date.setTime(1)],
  };
  for (const [name, [value, change]] of Object.entries(changes)) {
    test(name, () => {
      let count = 0;
      const f = jit((_: unknown) => x.add(count++), { staticArgnums: [0] });
      f(value);
      f(value);
      change(value);
      f(value);
      expect(count).toBe(2);
    });
  }
});

describe("static values without an exact key are refused by name", () => {
  const deep = Array.from({ length: 300 }).reduce((inner) => [inner], 0);
  const refused: Record<string, [value: unknown, message: RegExp]> = {
    "a getter": [
      {
        a: {
          get c() {
            return 1;
          },
        },
      },
      /jit: static argument 1 at a.c is a getter/,
    ],
    "private fields": [new Hidden(1), /static argument 1 has private fields/],
    "private fields below": [{ list: [new Hidden(1)] }, /static argument 1 at list.0 has private fields/],
    "a proxy": [new Proxy({}, {}), /is a Proxy/],
    "a promise": [{ p: Promise.resolve(1) }, /static argument 1 at p is a Promise/],
    "a weak map": [new WeakMap(), /is a WeakMap/],
    "a generator": [(function* () {})(), /is a generator/],
    "an iterator": [new Map().entries(), /is a iterator|is an iterator/],
    depth: [deep, /has more than 200 levels/],
  };
  for (const [name, [value, message]] of Object.entries(refused)) {
    test(name, () => {
      expect(() => traces([value])).toThrow(message);
      expect(() => traces([value])).toThrow(/Pass plain data, a frozen object, or what f needs of it/);
    });
  }
});

describe("dynamic arguments", () => {
  test("null, undefined, names and shapes tell programs apart", () => {
    let count = 0;
    const f = jit((_: unknown) => x.add(count++));
    const values = [
      { a: null },
      { a: undefined },
      {},
      { a: "null" },
      { a: true },
      { a: "true" },
      [null],
      [[]],
      [x],
      x,
      [x, x],
    ];
    for (const value of values) f(value);
    for (const value of values) f(value);
    expect(count).toBe(values.length);
  });
  test("numbers share one program, whatever their value", async () => {
    let count = 0;
    const f = jit((p: { k: Tensor }) => p.k.mul(++count));
    const given = [1, -0, Number.NaN, Number.NEGATIVE_INFINITY];
    expect(await Promise.all(given.map((k) => f({ k } as any).item()))).toEqual(given);
    expect(count).toBe(1);
  });
  const odd: Record<string, [value: unknown, message: RegExp]> = {
    "a bigint": [1n, /jit: argument 0 must be a tree of tensors, numbers/],
    "a symbol": [[Symbol("s")], /argument 0 must be a tree/],
    "a map": [{ m: new Map() }, /argument 0 must be a tree/],
    "a typed array": [new Float32Array(1), /argument 0 must be a tree/],
    "a boxed number": [[Object(1)], /argument 0 must be a tree/],
    "an instance": [{ box: new Box(1) }, /argument 0 must be a tree/],
    "a hole": [new Array(3).fill(1, 1), /argument 0 must have no holes/],
    "a key that is a symbol": [{ [Symbol("k")]: 1 }, /argument 0 must not have symbols as keys/],
    "a cycle": [loop("a"), /tree: a tree may have 1000 levels/],
  };
  for (const [name, [value, message]] of Object.entries(odd))
    test(`${name} is refused`, () => expect(() => jit((_: unknown) => x)(value)).toThrow(message));
});

describe("the device and the ops", () => {
  test("an op defined again under its name has programs of its own", async () => {
    const make = (by: number) =>
      defineOp("twice_defined", {
        inputs: ["x"],
        outputs: ["y"],
        params: {},
        shape: ({ x }) => ({ y: x }),
        sharding: wholeRule,
        reference: ({ x }) => ({ y: x.mul(by) }),
      });
    const [first, second] = [make(2), make(3)];
    const both = (x: Tensor) => [first({ x }).y, second({ x }).y];
    for (const run of [
      both,
      jit(both),
      (x: Tensor) => grad((x: Tensor) => both(x)[1]!.sum().mul(x.sum()))(x) && both(x),
    ])
      expect(await Promise.all((run(x) as Tensor[]).map((t) => t.item()))).toEqual([2, 3]);
  });
  test("static and donated exclude each other", () => {
    expect(() => jit((x: Tensor) => x, { staticArgnums: [0], donateArgnums: [0] })).toThrow(
      /jit: an argument is static or donated, not both, got 0/,
    );
  });
});
