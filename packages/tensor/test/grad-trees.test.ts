/** What can be differentiated by: trees of tensors and numbers. Everything else is refused, never handed back. */
import { runInNewContext } from "node:vm";
import { grad, jit, type Tensor, tensor, valueAndGrad, vjp } from "@te/tensor";
import { describe, expect, test } from "vitest";

class Weights {
  w = tensor([3]);
}
const f = (p: any) => p.w.mul(p.k ?? 2).sum();
const one = async (t: Tensor) => (await t.values())[0];

describe("differentiated", () => {
  test("numbers are float32 scalars, at every depth", async () => {
    const gradient = grad((p: any) => p.w.mul(p.list[0].k).sum())({ w: tensor([3]), list: [{ k: 2 }] });
    expect(String(gradient.list[0].k.dtype)).toBe("float32");
    expect(await gradient.list[0].k.item()).toBe(3);
    const [value, pull] = vjp((k: Tensor) => k.mul(k), 3);
    expect([await value.item(), await pull(tensor(1))[0].item()]).toEqual([9, 6]);
    expect(await grad((k: Tensor) => k.mul(k))(3).item()).toBe(6);
  });
  test("records and lists of another realm", async () => {
    const record = runInNewContext("(w) => ({ w, list: [w] })")(tensor([3]));
    const gradient = grad((p: any) => p.w.mul(p.list[0]).sum())(record);
    expect([await one(gradient.w), await one(gradient.list[0])]).toEqual([3, 3]);
    expect(await one(jit((p: any) => p.w.mul(2))(record))).toBe(6);
    const bare = Object.assign(Object.create(null), { w: tensor([3]) });
    expect(await one(grad(f)(bare).w)).toBe(2);
  });
  test("names, booleans and null stay", () => {
    const rest = { axes: ["embed", null], on: true, none: undefined };
    expect(grad(f)({ w: tensor([3]), ...rest })).toMatchObject(rest);
  });
  test("arguments that are not differentiated by may be anything", async () => {
    const scale = new Map([["k", 4]]);
    expect(await one(grad((p: any, m: typeof scale) => f({ ...p, k: m.get("k") }))({ w: tensor([3]) }, scale).w)).toBe(
      4,
    );
  });
});

describe("refused", () => {
  const hidden = (w: Tensor) => ({ get: () => w });
  const cyclic: any = { w: tensor([3]) };
  cyclic.self = cyclic;
  const arguments_: Record<string, unknown> = {
    "an instance of a class": new Weights(),
    "an instance below a record": { w: tensor([3]), layer: new Weights() },
    "an instance in a list": { w: tensor([3]), layers: [new Weights()] },
    "a Map": { w: tensor([3]), map: new Map([["w", tensor([3])]]) },
    "a Set": { w: tensor([3]), set: new Set([tensor([3])]) },
    "a function": { w: tensor([3]), f: hidden },
    "a bigint": { w: tensor([3]), k: 2n },
    "a boxed number": { w: tensor([3]), k: Object(2) },
    "a typed array": { w: tensor([3]), k: new Float32Array(1) },
    "a date": { w: tensor([3]), date: new Date(0) },
    "a symbol": { w: tensor([3]), s: Symbol("s") },
    "an instance of another realm": runInNewContext("new (class A { w = 1 })()"),
    "a cycle": cyclic,
  };
  const g = (p: any) => (p.w?.mul ? p.w.mul(2).sum() : tensor(0));
  for (const [name, argument] of Object.entries(arguments_)) {
    test(name, () => {
      const message =
        name === "a cycle" ? /tree: a tree may have/ : /: argument 0, to differentiate by, must be a tree/;
      expect(() => grad(g)(argument)).toThrow(message);
      expect(() => valueAndGrad((_: Tensor, p: any) => g(p), { argnums: [1] })(tensor(1), argument)).toThrow(
        name === "a cycle" ? message : /argument 1, to differentiate by/,
      );
      expect(() => vjp(g, argument)).toThrow(message);
    });
  }
  test("positions that are none, or twice the same", () => {
    for (const argnums of [-1, 0.5, [0, 0], ["0"], null])
      expect(() => grad(f, { argnums } as never)).toThrow(
        /grad: argnums must be a position, or an array of different positions/,
      );
    expect(() => grad(f, { argnums: 1 } as never)({ w: tensor([3]) })).toThrow(
      /argnums must be below the number of arguments/,
    );
  });
  test("results that are no tensors", () => {
    expect(() => vjp((_: Tensor) => "text" as never, tensor(1))).toThrow(/vjp: f must return a tree of tensors/);
    expect(() => vjp((_: Tensor) => [tensor(1), 2], tensor(1))).toThrow(/vjp: f must return a tree of tensors/);
    expect(() => valueAndGrad((x: Tensor) => x as never, { hasAux: true })(tensor(1))).toThrow(/return \[value, aux\]/);
    expect(() => vjp(async (x: Tensor) => x, tensor(1))).toThrow(/must be synchronous/);
  });
});
