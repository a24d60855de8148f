/** Caches are bounded: what was used least recently goes first and gives its memory back. */
import "@te/kernels-cpu";
import { jit, memory, type Tensor, tensor } from "@te/tensor";
import { Lru } from "@te/tensor/backend";
import { onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";

describe("least recently used first", () => {
  const released: number[] = [];
  const cache = new Lru<number>(3, (value) => released.push(value));

  test("a read counts as a use", () => {
    for (const [i, key] of ["a", "b", "c"].entries()) cache.set(key, i);
    expect(cache.get("a")).toBe(0);
    cache.set("d", 3);
    expect([released, cache.get("b"), cache.size]).toEqual([[1], undefined, 3]);
    cache.set("e", 4);
    expect([released, cache.get("c"), cache.get("a")]).toEqual([[1, 2], undefined, 0]);
  });
  test("a value that is replaced, and all that are left, are released", () => {
    cache.set("a", 9);
    expect([released.at(-1), cache.get("a"), cache.size]).toEqual([0, 9, 3]);
    cache.clear();
    expect([released.length, cache.size]).toEqual([6, 0]);
  });
});

test("keys are short together, or alone", () => {
  const cache = new Lru<number>(9, () => {}, 10);
  for (const [i, key] of ["1234", "56789", "0"].entries()) cache.set(key, i);
  expect(cache.size).toBe(3);
  cache.set("ab", 3);
  expect([cache.size, cache.get("1234"), cache.get("0")]).toEqual([3, undefined, 2]);
  cache.set("longer than all", 4);
  expect([cache.size, cache.get("longer than all")]).toEqual([1, 4]);
  cache.clear();
  for (const key of ["12345", "67890"]) cache.set(key, 5);
  expect(cache.size).toBe(2);
});

onEachDevice(() => {
  describe("programs of a jit function", () => {
    test("256 are kept, those used last", () => {
      let count = 0;
      const f = jit(
        (x: Tensor, _: number) => {
          count++;
          return x.add(1);
        },
        { staticArgnums: [1] },
      );
      const x = tensor([1]);
      for (let i = 0; i < 256; i++) f(x, i);
      f(x, 0);
      expect(count).toBe(256);
      f(x, 256); // 1 goes
      f(x, 0);
      expect(count).toBe(257);
      f(x, 1); // 2 goes
      f(x, 3);
      expect(count).toBe(258);
      f(x, 2);
      expect(count).toBe(259);
    });
    test("what a program that goes held is given back", async () => {
      const f = jit((x: Tensor, i: number) => x.add(tensor(new Float32Array(2 ** 16).fill(i))), { staticArgnums: [1] });
      const x = tensor([1]);
      const run = async (from: number, to: number) => {
        for (let i = from; i < to; i++) {
          const y = f(x, i);
          await y.data();
          y.dispose();
        }
        return memory().live;
      };
      const full = await run(0, 256);
      expect(await run(256, 400)).toBeLessThanOrEqual(full);
    });
    test("programs share the big constants that they make, and leave those of others alone", async () => {
      const outside = tensor(new Float32Array(2 ** 16).fill(3));
      const table = (fill: number) => tensor(new Float32Array(2 ** 16).fill(fill));
      const f = jit((x: Tensor, _: number) => [x.add(table(7)), x.add(outside)], { staticArgnums: [1] });
      const x = tensor([1]);
      const live: number[] = [];
      for (let i = 0; i < 300; i++) {
        const results = f(x, i);
        for (const [k, y] of results.entries()) {
          if (i % 99 === 0) expect((await y.values())[5]).toBe([8, 4][k]);
          y.dispose();
        }
        live.push(memory().live);
      }
      expect(Math.max(...live)).toBeLessThan(live[0]! + 2 ** 18);
      expect((await outside.values())[5]).toBe(3);
    });
  });
});
