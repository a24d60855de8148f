/** A donated step that fails leaves the caller with the state that it had. */
import "@te/kernels-cpu";
import { crossEntropy, grad, jit, makeProgram, memory, type Tensor, tensor, tree, valueAndGrad } from "@te/tensor";
import { Program, planMemory } from "@te/tensor/backend";
import { definedOps } from "@te/tensor/op";
import { onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";

type State = { embedding: Tensor; head: Tensor; steps: Tensor };

const start = (): State => ({
  embedding: tensor(
    Float32Array.from({ length: 5 * 4 }, (_, i) => Math.sin(i)),
    { shape: [5, 4] },
  ),
  head: tensor(
    Float32Array.from({ length: 4 * 3 }, (_, i) => Math.cos(i)),
    { shape: [4, 3] },
  ),
  steps: tensor([0]),
});
const ids = (...values: number[]) => tensor(values, { dtype: "int32" });
const lossOf = ({ embedding, head }: State, tokens: Tensor, labels: Tensor) =>
  crossEntropy(embedding.take(tokens, { axis: 0 }).tanh().dot(head), labels).mean();
const train = (state: State, tokens: Tensor, labels: Tensor): [Tensor, State] => {
  const [loss, grads] = valueAndGrad(lossOf)(state, tokens, labels);
  const next = tree.map((p: Tensor, g: Tensor) => p.sub(g.mul(0.5)), state, grads) as State;
  return [loss, { ...next, steps: state.steps.add(1) }];
};
const numbers = async (state: State) => Promise.all(Object.values(state).map((t) => t.toArray()));

onEachDevice(() => {
  describe("a donated step with a value that is refused", () => {
    const bad: Record<string, [tokens: Tensor, labels: Tensor]> = {
      "a label": [ids(0, 1), ids(0, 3)],
      "a negative label": [ids(0, 1), ids(-1, 1)],
      "a token": [ids(0, 5), ids(0, 1)],
    };
    for (const [name, [tokens, labels]] of Object.entries(bad)) {
      test(name, async () => {
        const step = jit(train, { donateArgnums: [0] });
        const plain = jit(train);
        let state = step(start(), ids(0, 1), ids(0, 1))[1];
        let expected = plain(start(), ids(0, 1), ids(0, 1))[1];
        const [loss, lost] = step(state, tokens, labels);
        await expect(loss.item()).rejects.toMatchObject({ code: "index" });
        await expect(lost.head.data()).rejects.toMatchObject({ code: "index" });
        expect(await numbers(state)).toEqual(await numbers(expected));
        const live = memory().live;
        for (let i = 0; i < 3; i++) {
          [state, expected] = [step(state, ids(2, i), ids(1, 2))[1], plain(expected, ids(2, i), ids(1, 2))[1]];
        }
        expect(await numbers(state)).toEqual(await numbers(expected));
        expect(memory().live).toBeLessThanOrEqual(live + 4096);
      });
    }
    test("without a look at the results, the old state goes on", async () => {
      const step = jit(train, { donateArgnums: [0] });
      const state = step(start(), ids(0, 1), ids(0, 1))[1];
      step(state, ids(0, 9), ids(0, 1));
      const [again] = step(state, ids(0, 1), ids(0, 1));
      const twice = jit(train)(jit(train)(start(), ids(0, 1), ids(0, 1))[1], ids(0, 1), ids(0, 1));
      expect(await again.item()).toBe(await twice[0].item());
      expect(() => state.head.dataSync()).toThrow(/donated/);
    });
    test("steps queued behind it fail with its error, and what they were given is refused", async () => {
      const step = jit(train, { donateArgnums: [0] });
      const state = start();
      const [, second] = step(state, ids(7, 0), ids(0, 0));
      const [loss, third] = step(second, ids(0, 0), ids(0, 0));
      await expect(loss.item()).rejects.toMatchObject({ code: "index" });
      await expect(third.head.data()).rejects.toMatchObject({ code: "index" });
      await expect(second.head.data()).rejects.toMatchObject({ code: "index" });
      expect(await numbers(state)).toEqual(await numbers(start()));
    });
    test("a state that went through is gone, and disposing of it is no error", async () => {
      const step = jit(train, { donateArgnums: [0] });
      const state = start();
      const [loss, next] = step(state, ids(0, 1), ids(0, 1));
      await loss.item();
      expect(() => state.head.add(1)).toThrow(/donated to a jit call/);
      expect(String(state.head)).toMatch(/disposed/);
      for (const t of Object.values(state)) t.dispose();
      expect(() => state.head.dataSync()).toThrow(/disposed/);
      expect((await next.steps.data())[0]).toBe(1);
    });
    test("handles of states that went through do not pile up", async () => {
      const step = jit((s: Tensor) => s.add(1), { donateArgnums: [0] });
      let s = step(tensor(new Float32Array(2 ** 10)));
      const live = memory().live;
      for (let i = 0; i < 5000; i++) s = step(s);
      expect(memory().live).toBeLessThanOrEqual(live);
      expect((await s.data())[0]).toBe(5001);
    });
  });
});

describe("the plan of memory", () => {
  const plan = (f: (...args: any[]) => unknown, ...args: unknown[]) => {
    const program = makeProgram(f)(...args);
    const donated = program.inputs.map((_, i) => i);
    const { values, inputs, constants, nodes, outputs } = program;
    return planMemory(new Program(values, inputs, constants, nodes, outputs, donated));
  };
  const index = ids(0);
  const cache = tensor(new Float32Array(64), { shape: [16, 4] });

  test("nothing donated is written over before the last check", () => {
    const late = (_: Tensor, cache: Tensor) => {
      const next = cache.add(1);
      return [next.take(next.sum().astype("int32").reshape([1]), { axis: 0 }), next];
    };
    expect(plan(late, tensor([1]), cache).aliases).toEqual([-1, -1]);
  });
  test("a check of little is moved ahead, so that a cache is written in its place", () => {
    const early = (i: Tensor, cache: Tensor, other: Tensor) => {
      const next = cache.mul(2);
      return [next, other.take(i.add(1), { axis: 0 }).add(next.sum())];
    };
    const { aliases, program } = plan(early, index, cache, tensor(new Float32Array(8), { shape: [4, 2] }));
    expect(aliases[0]).toBe(1);
    const names = program.nodes.map(({ op }) => op.name);
    expect(names.indexOf("take")).toBeLessThan(names.indexOf("mul"));
  });
  test("a step of training still writes over its parameters", () => {
    const state = start();
    const { aliases } = plan(train, state, ids(0, 1), ids(0, 1));
    expect(aliases.slice(1).every((alias) => alias >= 0)).toBe(true);
  });
  test("ops that refuse values say so", () => {
    for (const op of definedOps().values()) {
      const source = String(op.evaluate ?? "");
      expect(op.checks ?? false, op.name).toBe(
        /fail\)?\(|checkedIndices/.test(source) || /^cross_entropy/.test(op.name),
      );
    }
  });
});

test("gradients inside of a donated step are those outside", async () => {
  const f = (s: State) => grad((s: State) => lossOf(s, ids(0, 1), ids(0, 1)))(s);
  expect(await numbers(jit(f, { donateArgnums: [0] })(start()))).toEqual(await numbers(f(start())));
});
