/** FP8 state of layers that a step uses several times, or not at all: one step of the history, or none. */
import { type AmaxComputeAlgo, DelayedScaling, fp8Autocast, fp8DotGeneral, productMetas } from "@te/fp8";
import { DenseGeneral, LayerNormDenseGeneral, LayerNormMLP, Module, type Variables } from "@te/layers";
import { checkpoint, grad, jit, random, stack, stopGradient, type Tensor, tree, valueAndGrad } from "@te/tensor";
import { describe, expect, test } from "vitest";

const LENGTH = 4;
const x = random.normal(random.key(1), [8, 16]);
const recipe = (amaxComputeAlgo: AmaxComputeAlgo = "max") =>
  new DelayedScaling({ amaxHistoryLen: LENGTH, amaxComputeAlgo });
const inFp8 = <T>(f: () => T, fp8Recipe = recipe()): T => fp8Autocast({ enabled: true, fp8Recipe }, f);

const layers: Record<string, () => Module> = {
  DenseGeneral: () => new DenseGeneral({ features: 16, useBias: true }),
  LayerNormDenseGeneral: () => new LayerNormDenseGeneral({ features: 16, returnLayernormOutput: false }),
  LayerNormMLP: () => new LayerNormMLP({ intermediateDim: 32 }),
};

class Times extends Module {
  constructor(
    readonly layer: Module,
    private readonly f: (call: (x: Tensor) => Tensor, x: Tensor) => Tensor,
  ) {
    super({});
  }
  call(x: Tensor): Tensor {
    const first = (y: any): Tensor => (Array.isArray(y) ? y[0] : y);
    return this.f((x) => first(this.layer.call(x)), x);
  }
}

const gradients = (module: Module, variables: Variables): Variables =>
  grad((v: Variables) => module.apply(v, x).pow(2).mean())(variables);

async function numbers(metas: unknown): Promise<Record<string, number[]>> {
  const found: Record<string, number[]> = {};
  for (const { path, leaf } of tree.leavesWithPath(metas)) found[path.join("/")] = Array.from(await leaf.values());
  return found;
}

describe("a layer that a step uses more than once", () => {
  for (const [name, make] of Object.entries(layers)) {
    for (const algorithm of ["max", "most_recent"] as const) {
      test(`${name}, ${algorithm}: the largest amax of the uses, in one step`, async () => {
        await inFp8(async () => {
          const inner = make();
          const of = (f: (call: (x: Tensor) => Tensor, x: Tensor) => Tensor) => new Times(inner, f);
          const small = of((call, x) => call(x.mul(0.5)));
          const large = of((call, x) => call(x));
          const both = of((call, x) => call(x).add(call(x.mul(0.5))));
          const variables = small.init(random.key(0), x);
          // Both branches get the gradient of the sum, so only amaxes of inputs and kernels are those of the parts.
          const amaxes = await Promise.all([small, large].map((m) => numbers(gradients(m, variables).fp8_metas)));
          const together = await numbers(gradients(both, variables).fp8_metas);
          for (const [path, values] of Object.entries(together)) {
            expect(values.every(Number.isFinite), path).toBe(true);
            if (!path.endsWith("history")) continue;
            expect(values.slice(0, -1), path).toEqual(Array(LENGTH - 1).fill(0));
            const scale = together[path.replace("amax_history", "scale")]![0]!;
            const largest = path.includes("grad") ? 57344 : 448;
            expect(scale, path).toBe(Math.fround(largest / values.at(-1)!));
            if (/layer\/(x|kernel)/.test(path))
              expect(values.at(-1), path).toBe(Math.max(...amaxes.map((a) => a[path]!.at(-1)!)));
          }
        }, recipe(algorithm));
      });
    }
    test(`${name}: the same bits with checkpoint, and in a jit`, async () => {
      await inFp8(async () => {
        const inner = make();
        const plain = new Times(inner, (call, x) => call(call(x)));
        const saved = new Times(inner, (call, x) => checkpoint((x: Tensor) => call(checkpoint(call)(x)))(x));
        let variables = plain.init(random.key(0), x);
        for (let i = 0; i < 3; i++) {
          const after = gradients(plain, variables);
          expect(await numbers(tensors(gradients(saved, variables)))).toEqual(await numbers(tensors(after)));
          const step = jit((v: Variables) => gradients(saved, v).fp8_metas);
          expect(await numbers(step(variables))).toEqual(await numbers(after.fp8_metas));
          variables = { ...variables, fp8_metas: after.fp8_metas! };
        }
      });
    });
  }
  test("micro-batches in one loss and siamese branches train as one use does", async () => {
    await inFp8(async () => {
      const layer = new DenseGeneral({ features: 16 });
      let variables = layer.init(random.key(0), x);
      const parts = [x.slice([0], [4]), x.slice([4], [8])];
      const inParts = (v: Variables) =>
        parts.map((part) => layer.apply(v, part).pow(2).sum()).reduce((a, b) => a.add(b));
      const whole = (v: Variables) => layer.apply(v, x).pow(2).sum();
      for (let i = 0; i < LENGTH + 1; i++) {
        const [loss, after] = valueAndGrad(inParts)(variables);
        const [expected, wanted] = valueAndGrad(whole)(variables);
        expect(await loss.item()).toBeCloseTo(await expected.item(), 2);
        expect(await numbers(after.fp8_metas)).toEqual(await numbers(wanted.fp8_metas));
        variables = { ...variables, fp8_metas: after.fp8_metas! };
      }
    });
  });
  test("the products of stacked layers read their parts of the state", async () => {
    await inFp8(() => testStacked());
  });
});

async function testStacked(): Promise<void> {
  const layer = new DenseGeneral({ features: 16 });
  const single = [0, 1, 2].map((i) => layer.init(random.key(i), x));
  const stacked = tree.map((...all: Tensor[]) => stack(all), tensors(single[0]!), ...single.slice(1).map(tensors));
  const at = (v: unknown, i: number) => tree.map((t: Tensor) => t.at(i), v) as Variables;
  const after = grad((v: unknown) => {
    const first = layer.apply(at(v, 0), x);
    return layer
      .apply(at(v, 2), layer.apply(at(v, 0), first))
      .pow(2)
      .sum();
  })(stacked) as Variables;
  const unrolled = grad((v: Variables[]) => {
    const first = layer.apply(v[0]!, x);
    return layer.apply(v[2]!, layer.apply(v[0]!, first)).pow(2).sum();
  })(single.map(tensors)) as Variables[];
  for (const i of [0, 1, 2])
    expect(await numbers(at(after.fp8_metas, i))).toEqual(await numbers(unrolled[i]!.fp8_metas));
}

const tensors = ({ params, fp8_metas }: Variables): Variables => ({ params, fp8_metas: fp8_metas! });

describe("a layer that no gradient reaches", () => {
  class Pair extends Module {
    body = new LayerNormMLP({ intermediateDim: 32 });
    head = new DenseGeneral({ features: 4 });
    call(x: Tensor, { how = "whole" } = {}): Tensor {
      const y = how === "skipped" ? x : this.body.call(x)[0];
      return this.head.call(how === "frozen" ? stopGradient(y) : y);
    }
  }
  const pair = new Pair();
  const warm = () =>
    inFp8(() => {
      const variables = pair.init(random.key(0), x);
      const { fp8_metas } = grad((v: Variables) => pair.apply(v, x).pow(2).sum())(variables);
      return { ...variables, fp8_metas } as Variables;
    });

  for (const how of ["frozen", "skipped"]) {
    test(`${how}: its state stays, that of the others goes on`, async () => {
      const variables = warm();
      const after = inFp8(() => grad((v: Variables) => pair.apply(v, x, { how }).pow(2).sum())(variables));
      expect(await numbers(after.fp8_metas!.body)).toEqual(await numbers(variables.fp8_metas!.body));
      const [head, before] = await Promise.all([after.fp8_metas!.head, variables.fp8_metas!.head].map(numbers));
      expect(head!.x_amax_history![3]).toBeGreaterThan(0);
      expect(head!.x_amax_history!.slice(0, 3)).not.toEqual(before!.x_amax_history!.slice(0, 3));
    });
  }
  test("a step with FP8 off, whether state is differentiated with the variables or alone", async () => {
    const variables = warm();
    const expected = await numbers(variables.fp8_metas);
    const loss = (v: Variables) => pair.apply(v, x).pow(2).sum();
    expect(await numbers(grad(loss)(variables).fp8_metas)).toEqual(expected);
    const alone = (params: any, fp8_metas: any) => loss({ params, fp8_metas });
    const [, metas] = grad(alone, { argnums: [0, 1] })(variables.params, variables.fp8_metas);
    expect(await numbers(metas)).toEqual(expected);
    expect(await numbers(jit(grad(loss))(variables).fp8_metas)).toEqual(expected);
  });
  test("a module that a step does not call, and evaluation between steps", async () => {
    const variables = warm();
    const expected = await numbers(variables.fp8_metas);
    const after = grad((v: { other: Tensor; pair: Variables }) => v.other.sum())({ other: x, pair: variables });
    expect(await numbers(after.pair.fp8_metas)).toEqual(expected);
    await inFp8(() => pair.apply(variables, x)).data();
    expect(await numbers(variables.fp8_metas)).toEqual(expected);
  });
  test("products without a module", async () => {
    await inFp8(async () => {
      const state = new Map<string, Tensor>();
      const metas = productMetas(recipe(), (name, init) => state.get(name) ?? state.set(name, init()).get(name)!);
      const loss = (cut: boolean) => (x: Tensor, kernel: Tensor, metas: any) => {
        const y = fp8DotGeneral(x, kernel, metas, { lhsContract: [1], rhsContract: [0] });
        return (cut ? stopGradient(y) : y).sum().add(kernel.sum());
      };
      const kernel = random.normal(random.key(2), [16, 4]);
      const argnums = [1, 2] as const;
      expect(await numbers(grad(loss(true), { argnums })(x, kernel, metas)[1])).toEqual(await numbers(metas));
      const after = grad(loss(false), { argnums })(x, kernel, metas)[1];
      expect((await numbers(after))["x/amaxHistory"]![3]).toBeGreaterThan(0);
    });
  });
});
