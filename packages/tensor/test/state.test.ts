/** State whose "gradient" is its value after the step: combined by its rule, never added; kept where nothing reaches it. */
import {
  checkpoint,
  concat,
  customVjp,
  grad,
  jit,
  ones,
  stack,
  stopGradient,
  type Tensor,
  tensor,
  tree,
  valueAndGrad,
  vjp,
  zeros,
} from "@te/tensor";
import { declareStateCollection, markState, type StateRule, stateAfter } from "@te/tensor/op";
import { describe, expect, test } from "vitest";

type Gauge = { steps: Tensor; top: Tensor };

/** Counts steps and keeps the largest magnitude that a step saw. */
const gaugeRule = (name = "gauge"): StateRule<Gauge, { top: Tensor }> => ({
  name,
  combine: (a, b) => ({ top: a.top.maximum(b.top) }),
  next: ({ steps, top }, seen) => ({ steps: steps.add(1), top: top.maximum(seen.top) }),
});

/** x * w, which writes down the largest magnitude of x. */
function scaled(x: Tensor, w: Tensor, gauge: Gauge, rule = gaugeRule()): Tensor {
  markState(gauge);
  return customVjp(
    (x: Tensor, w: Tensor, _: Gauge) => x.mul(w),
    (x: Tensor, w: Tensor, gauge: Gauge) => [x.mul(w), { x, w, gauge }],
    ({ x, w, gauge }: { x: Tensor; w: Tensor; gauge: Gauge }, g: Tensor) => [
      g.mul(w),
      g.mul(x).sum().reshape(w.shape),
      stateAfter(rule, gauge, { top: x.abs().max().reshape(gauge.top.shape) }),
    ],
  )(x, w, gauge);
}

const fresh = (): Gauge => ({ steps: tensor([3]), top: tensor([1.5]) });
const x = tensor([1, -2]);
const w = tensor([2]);
const read = async (gauge: Gauge) => [Array.from(await gauge.steps.values()), Array.from(await gauge.top.values())];
const gaugeOf = (f: (x: Tensor, w: Tensor, g: Gauge) => Tensor, g = fresh()): Gauge =>
  grad((w: Tensor, g: Gauge) => f(x, w, g).sum(), { argnums: [0, 1] })(w, g)[1];

describe("uses within one step", () => {
  const uses: Record<string, [f: (x: Tensor, w: Tensor, g: Gauge) => Tensor, top: number]> = {
    "one use": [(x, w, g) => scaled(x, w, g), 2],
    "one after the other": [(x, w, g) => scaled(scaled(x, w, g), w, g), 4],
    "side by side": [(x, w, g) => scaled(x, w, g).add(scaled(x.mul(3), w, g)), 6],
    "micro-batches": [(x, w, g) => [1, 5, 2].map((k) => scaled(x.mul(k), w, g).pow(2)).reduce((a, b) => a.add(b)), 10],
    checkpointed: [(x, w, g) => checkpoint((x: Tensor) => scaled(scaled(x, w, g), w, g))(x), 4],
    "checkpointed in parts": [
      (x, w, g) => {
        const layer = checkpoint((x: Tensor, w: Tensor, g: Gauge) => scaled(x, w, g));
        return layer(layer(scaled(x, w, g), w, g), w, g);
      },
      8,
    ],
    "checkpointed twice over": [
      (x, w, g) => checkpoint((x: Tensor) => checkpoint((x: Tensor) => scaled(x, w, g))(x).mul(2))(scaled(x, w, g)),
      4,
    ],
    "inside of a customVjp": [
      (x, w, g) =>
        customVjp(
          (x: Tensor, w: Tensor, g: Gauge) => scaled(x, w, g),
          (x: Tensor, w: Tensor, g: Gauge) => [scaled(x, w, g), { x, w, g }],
          ({ x, w, g }, ct) => vjp((x: Tensor, w: Tensor, g: Gauge) => scaled(x, w, g), x, w, g)[1](ct),
        )(scaled(x, w, g), w, g),
      4,
    ],
  };
  for (const [name, [f, top]] of Object.entries(uses)) {
    test(name, async () => {
      expect(await read(gaugeOf(f))).toEqual([[4], [top]]);
      expect(await read(jit(gaugeOf, { staticArgnums: [0] })(f))).toEqual([[4], [top]]);
    });
  }
  test("a cotangent of zeros takes a step, no cotangent takes none", async () => {
    const [, pull] = vjp((w: Tensor, g: Gauge) => [scaled(x, w, g), w.mul(2)], w, fresh());
    expect(await read(pull([zeros([2]), ones([1])])[1])).toEqual([[4], [2]]);
    const [, unreached] = vjp((w: Tensor, g: Gauge) => [stopGradient(scaled(x, w, g)), w], w, fresh());
    expect(await read(unreached([ones([2]), ones([1])])[1])).toEqual([[3], [1.5]]);
  });
  test("a gradient of a gradient takes one step", async () => {
    const inner = (w: Tensor, g: Gauge) => valueAndGrad((w: Tensor) => scaled(x, w, g).pow(2).sum())(w);
    const outer = grad((w: Tensor, g: Gauge) => inner(w, g)[1].sum().add(inner(w, g)[0]), { argnums: [0, 1] });
    expect(await read(outer(w, fresh())[1])).toEqual([[4], [2]]);
  });
});

describe("stacked state", () => {
  const part = (g: Gauge, i: number): Gauge => tree.map((t: Tensor) => t.slice([i], [i + 1]), g);
  const stacked = (): Gauge => ({ steps: tensor([3, 4, 5]), top: tensor([0.5, 1, 1.5]) });

  test("layers of an unrolled loop step each part once, the others keep theirs", async () => {
    const f = (x: Tensor, w: Tensor, g: Gauge) => [2, 0, 2].reduce((y, i) => scaled(y, w, part(g, i)), x);
    expect(await read(gaugeOf(f, stacked()))).toEqual([
      [4, 4, 6],
      [4, 1, 8],
    ]);
    const again = (x: Tensor, w: Tensor, g: Gauge) => checkpoint((x: Tensor) => f(x, w, g))(x);
    expect(await read(gaugeOf(again, stacked()))).toEqual([
      [4, 4, 6],
      [4, 1, 8],
    ]);
  });
  test("rows that are taken, reshaped and put together", async () => {
    const rows: Gauge = tree.map((t: Tensor) => t.reshape([3, 1]), stacked());
    const row = (g: Gauge, i: number): Gauge =>
      tree.map((t: Tensor) => t.take(tensor([i], { dtype: "int32" })).reshape([1]), g);
    const f = (x: Tensor, w: Tensor, g: Gauge) => scaled(scaled(x, w, row(g, 1)), w, row(g, 1));
    const computed = (g: Gauge, i: Tensor): Gauge =>
      tree.map((t: Tensor) => t.take(i.mul(2).sub(1).reshape([1])).reshape([1]), g);
    const one = tensor(1, { dtype: "int32" });
    const later = (x: Tensor, w: Tensor, g: Gauge) => scaled(scaled(x, w, computed(g, one)), w, computed(g, one));
    expect(await read(gaugeOf(later, rows))).toEqual([
      [3, 5, 5],
      [0.5, 4, 1.5],
    ]);
    expect(await read(gaugeOf(f, rows))).toEqual([
      [3, 5, 5],
      [0.5, 4, 1.5],
    ]);
    const joined = (at: number) => (x: Tensor, w: Tensor, g: Gauge) => {
      const twice = tree.map((t: Tensor) => concat([t.reshape([3]), t.reshape([3])]), g) as Gauge;
      return scaled(x, w, part(twice, at));
    };
    for (const at of [1, 4])
      expect(await read(gaugeOf(joined(at), rows))).toEqual([
        [3, 5, 5],
        [0.5, 2, 1.5],
      ]);
  });
  test("state that comes through thousands of reshapes", async () => {
    const turned = (t: Tensor): Tensor => {
      for (let i = 0; i < 6000; i++) t = t.reshape([1, 1]).reshape([1]);
      return t;
    };
    expect(await read(gaugeOf((x, w, g) => scaled(x, w, tree.map(turned, g))))).toEqual([[4], [2]]);
  });
  test("state that is stacked inside", async () => {
    const gauges = [fresh(), fresh()];
    const after = grad((gauges: Gauge[]) => {
      const all: Gauge = { steps: stack(gauges.map((g) => g.steps)), top: stack(gauges.map((g) => g.top)) };
      const first = tree.map((t: Tensor) => t.slice([0], [1]).reshape([1]), all) as Gauge;
      return scaled(x, w, first).sum();
    })(gauges);
    expect(await Promise.all(after.map(read))).toEqual([
      [[4], [2]],
      [[3], [1.5]],
    ]);
  });
});

describe("what no gradient reaches keeps its value", () => {
  declareStateCollection("gauges");
  const cases: Record<string, (v: { w: Tensor; gauges: Gauge }) => Tensor> = {
    "it is not used": ({ w }) => w.sum(),
    "it is behind stopGradient": ({ w, gauges }) =>
      stopGradient(scaled(x, w, gauges))
        .sum()
        .add(w.sum()),
    "it is stopped itself": ({ w, gauges }) =>
      scaled(x, w, tree.map((t: Tensor) => stopGradient(t), gauges) as Gauge).sum(),
    "only its numbers are used": ({ w, gauges }) => w.mul(gauges.top).sum(),
    "a checkpointed branch is cut": ({ w, gauges }) =>
      stopGradient(checkpoint((w: Tensor) => scaled(x, w, gauges))(w))
        .sum()
        .add(w.sum()),
  };
  for (const [name, f] of Object.entries(cases)) {
    test(name, async () => {
      for (const run of [grad(f), jit(grad(f))])
        expect(await read(run({ w, gauges: fresh() }).gauges)).toEqual([[3], [1.5]]);
    });
  }
  test("marked state needs no name", async () => {
    const after = grad((g: Gauge) => {
      markState(g);
      return w.sum();
    })(fresh());
    expect(await read(after)).toEqual([[3], [1.5]]);
  });
  test("integers and bools of a collection too", async () => {
    const gauges = { step: tensor([7], { dtype: "int32" }), used: tensor([true]) };
    const after = grad((v: any) => v.w.sum())({ w, gauges }).gauges;
    expect([await after.step.toArray(), await after.used.toArray()]).toEqual([[7], [true]]);
  });
  test("gradients of some arguments only", async () => {
    const f = (w: Tensor, g: Gauge) => scaled(x, w, g).sum();
    expect(await grad(f)(w, fresh()).toArray()).toEqual([-1]);
    expect(await read(grad(f, { argnums: 1 })(w, fresh()))).toEqual([[4], [2]]);
  });
});

describe("mistakes", () => {
  test("one state under two rules", () => {
    const f = (x: Tensor, w: Tensor, g: Gauge) => scaled(scaled(x, w, g), w, g, gaugeRule("another"));
    expect(() => gaugeOf(f)).toThrow(/grad: a state must follow one rule within a step, another, got gauge/);
  });
  test("a state that is computed from the argument", () => {
    const f = (x: Tensor, w: Tensor, g: Gauge) => scaled(x, w, { ...g, top: g.top.mul(2) });
    expect(() => gaugeOf(f)).toThrow(/grad: a state must reach its use as it is/);
  });
  test("next values without a rule stand for one use", async () => {
    const own = (w: Tensor, g: Gauge) =>
      customVjp(
        (w: Tensor, _: Gauge) => w,
        (w: Tensor, g: Gauge) => [w, g],
        (g: Gauge, ct: Tensor) => [ct, { steps: g.steps.add(1), top: g.top }],
      )(w, g);
    const once = grad((v: any) => own(v.w, v.gauges).sum());
    expect(await read(once({ w, gauges: fresh() }).gauges)).toEqual([[4], [1.5]]);
    const twice = grad((v: any) => own(own(v.w, v.gauges), v.gauges).sum());
    expect(() => twice({ w, gauges: fresh() })).toThrow(/grad: a state must follow one rule within a step/);
  });
});
