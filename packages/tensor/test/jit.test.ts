/** jit: traced once, the same bits as eager, static and donated arguments, and what a traced function must not do. */
import "@te/kernels-cpu";
import { jit, makeProgram, memory, TeError, type Tensor, tensor, tree } from "@te/tensor";
import { createScope, fail } from "@te/tensor/op";
import { onEachDevice } from "@te/testkit";
import { describe, expect, test, vi } from "vitest";
import { expectBits } from "./helpers.js";

const x = () =>
  tensor([
    [1, -2, 3],
    [0.5, 8, -1],
  ]);

const bias = createScope<number>("bias of a test", String);

onEachDevice(() => {
  describe("a compiled function", () => {
    test("gives the bits of the eager one, in the same structure", () => {
      const f = ({ a, b }: { a: Tensor; b: readonly Tensor[] }) => ({
        sum: a.mul(b[0]!).exp().sum(-1),
        list: [a.tanh(), null, { deep: b[0]!.matmul(a.transpose()) }],
      });
      const args = { a: x(), b: [x().add(0.25)] };
      expectBits(jit(f)(args), f(args));
    });

    test("is traced once for each shape and dtype", () => {
      const f = vi.fn((t: Tensor) => t.add(1));
      const g = jit(f);
      g(x());
      g(x());
      expect(f).toHaveBeenCalledTimes(1);
      g(x().reshape([3, 2]));
      g(x().astype("bfloat16"));
      g(x());
      expect(f).toHaveBeenCalledTimes(3);
    });

    test("takes numbers as float32 scalars and traces no value of theirs", async () => {
      const f = vi.fn((t: Tensor, by: number) => t.mul(by));
      const g = jit(f);
      expect(await g(tensor([2]), 3).toArray()).toEqual([6]);
      expect(await g(tensor([2]), 4).toArray()).toEqual([8]);
      expect(f).toHaveBeenCalledTimes(1);
    });

    test("is traced for each value of strings, booleans and static arguments", async () => {
      const f = vi.fn((t: Tensor, o: { times: number }, name: string, flip: boolean) =>
        (flip ? t.neg() : t).mul(o.times).add(name.length),
      );
      const g = jit(f, { staticArgnums: [1] });
      expect(await g(tensor([1]), { times: 2 }, "a", false).toArray()).toEqual([3]);
      expect(await g(tensor([5]), { times: 2 }, "a", false).toArray()).toEqual([11]);
      expect(f).toHaveBeenCalledTimes(1);
      expect(await g(tensor([1]), { times: 3 }, "a", false).toArray()).toEqual([4]);
      expect(await g(tensor([1]), { times: 2 }, "ab", false).toArray()).toEqual([4]);
      expect(await g(tensor([1]), { times: 2 }, "a", true).toArray()).toEqual([-1]);
      expect(f).toHaveBeenCalledTimes(4);
    });

    test("is traced anew in another context", async () => {
      const g = jit((t: Tensor) => t.add(bias.current() ?? 0));
      const inside = (value: number) => bias.with(value, () => g(tensor([1])).toArray());
      expect([await inside(1), await inside(2), await g(tensor([1])).toArray()]).toEqual([[2], [3], [1]]);
    });

    test("keeps tensors of its closure as constants", async () => {
      const weight = tensor([10, 20]);
      const g = jit((t: Tensor) => t.mul(weight));
      expect(await g(tensor([1, 2])).toArray()).toEqual([10, 40]);
    });

    test("passes arguments and numbers through", async () => {
      const t = tensor([1, 2]);
      const [same, twice, name] = jit((a: Tensor) => [a, [a, a], "name"])(t) as [Tensor, Tensor[], string];
      t.dispose();
      expect(await same.toArray()).toEqual([1, 2]);
      expect(await twice[1]!.toArray()).toEqual([1, 2]);
      expect(name).toBe("name");
    });

    test("inside another one is one program", () => {
      const inner = jit((t: Tensor) => t.mul(2));
      const text = makeProgram((t: Tensor) => inner(t).add(1))(x()).toString();
      expect(text).toMatch(/mul[\s\S]*add/);
    });
  });

  describe("donated arguments", () => {
    test("give their memory to the results and cannot be used again", async () => {
      const step = jit((state: Tensor, by: Tensor) => state.add(by), { donateArgnums: [0] });
      let state = tensor(new Float32Array(1 << 16));
      const by = tensor(new Float32Array(1 << 16).fill(1));
      state = step(state, by);
      await state.data();
      const before = memory().live;
      for (let i = 0; i < 5; i++) {
        const old = state;
        state = step(old, by);
        expect(() => old.dataSync()).toThrow(/donated|disposed/);
        expect(memory().live).toBe(before);
      }
      expect((await state.data())[7]).toBe(6);
    });

    test("a tensor that stands in another argument too is taken from the donated one alone", async () => {
      for (const donateArgnums of [[0], [1]]) {
        const f = jit((a: Tensor, b: Tensor) => a.add(b), { donateArgnums });
        const [first, y, z] = [x(), x(), x()];
        expectBits(f(first, first), x().mul(2));
        const results = [f(y, z), f(donateArgnums[0] === 0 ? x() : y, donateArgnums[0] === 0 ? z : x())];
        for (const result of results) expectBits(result, x().mul(2));
        expectBits(donateArgnums[0] === 0 ? z : y, x());
        expect(() => (donateArgnums[0] === 0 ? y : z).dataSync()).toThrow(/donated/);
      }
    });

    test("may not be given twice", () => {
      const t = x();
      const f = jit((a: Tensor, b: Tensor) => a.add(b), { donateArgnums: [0, 1] });
      expect(() => f(t, t)).toThrow(/jit: a tensor may be donated once/);
    });
  });

  describe("errors", () => {
    test("of reading data while tracing", () => {
      expect(() => jit((t: Tensor) => tensor([...(t.dataSync() as Float32Array)]))(x())).toThrow(
        /dataSync: .*float32\[2,3\] is traced and has no data yet/,
      );
    });
    test("of asynchronous functions, whose own rejection goes nowhere", () => {
      expect(() => jit(async (t: Tensor) => t.item())(tensor(1))).toThrow(/jit: a traced function must be synchronous/);
    });
    test("of arguments that are no trees of tensors", () => {
      expect(() => jit((d: Date) => d)(new Date(0))).toThrow(/jit: argument 0 must be a tree .* staticArgnums: \[0\]/);
    });
    test("of options that do not exist", () => {
      expect(() => jit((t: Tensor) => t, { staticArgs: [0] } as never)).toThrow(/staticArgs.*staticArgnums/);
    });
    test("in f leave nothing behind", async () => {
      let broken = true;
      const f = jit((t: Tensor) => (broken ? fail("state", "f", "not now") : t.add(1)));
      expect(() => f(tensor([1]))).toThrow(TeError);
      broken = false;
      expect(await f(tensor([1])).toArray()).toEqual([2]);
    });
    test("of a run reach whoever reads, and other tensors live on", async () => {
      const take = jit((t: Tensor, i: Tensor) => t.take(i).add(1));
      const table = tensor([1, 2, 3]);
      const index = (at: number) => tensor([at], { dtype: "int32" });
      await expect(take(table, index(9)).data()).rejects.toMatchObject({ code: "index" });
      expect(await take(table, index(2)).toArray()).toEqual([4]);
    });
  });

  test("a traced tensor that leaves its function is refused with a reason", () => {
    let leaked: Tensor | undefined;
    jit((t: Tensor) => {
      leaked = t.add(1);
      return t;
    })(tensor([1]));
    expect(() => leaked!.add(1)).toThrow(TeError);
    expect(() => leaked!.dataSync()).toThrow(/traced/);
    expect(String(leaked)).toBe("traced float32[1]");
  });

  test("a tree of results can be donated to the next call", async () => {
    const step = jit((s: { a: Tensor; b: Tensor }) => tree.map((t: Tensor) => t.mul(2), s), { donateArgnums: [0] });
    let state: any = { a: tensor([1]), b: tensor([3]) };
    for (let i = 0; i < 3; i++) state = step(state);
    expect(await state.a.toArray()).toEqual([8]);
    expect(await state.b.toArray()).toEqual([24]);
  });
});
