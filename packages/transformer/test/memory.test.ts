/** Z01: a hundred training steps hold as many bytes as five, in float32 and in FP8. */
import { autocast, DelayedScaling } from "@te/fp8";
import { adamw, applyUpdates } from "@te/optim";
import { jit, memory, random, type Tensor, tree, valueAndGrad } from "@te/tensor";
import { bytesAfterCollection, normals, onEachDevice } from "@te/testkit";
import { expect, test } from "vitest";
import { TransformerLayer } from "../src/index.js";

const recipe = new DelayedScaling({ amaxHistoryLen: 4 });
const optimizer = adamw({ learningRate: 1e-3 });
const model = new TransformerLayer({ hiddenSize: 16, mlpHiddenSize: 32, numAttentionHeads: 2 });

function step(variables: any, state: any, key: Tensor, x: Tensor): [any, any, Tensor] {
  const loss = (v: any) =>
    model
      .apply(v, x, { rngs: { dropout: key } })
      .astype("float32")
      .pow(2)
      .mean();
  const [value, { params: grads, ...rest }] = valueAndGrad(loss)(variables);
  const [updates, next] = optimizer.update(grads, state, variables.params);
  return [{ ...rest, params: applyUpdates(variables.params, updates) }, next, value];
}

const dispose = (...trees: unknown[]): void => {
  for (const leaf of tree.leaves(trees)) leaf.dispose();
};

onEachDevice((device) => {
  test.each([
    ["float32", false],
    ["bfloat16", true],
  ] as const)("Z01 %s, FP8 %s", async (dtype, enabled) => {
    await autocast({ enabled, recipe }, async () => {
      const x = normals([2, 8, 16], { dtype });
      const { params_axes: _, ...start }: any = model.init(random.key(0), x, { deterministic: true });
      const run = jit(step);
      let [variables, state] = [start, optimizer.init(start.params)];
      const live: number[] = [];
      // Without kernels a step takes ten times as long, and the bookkeeping is the same.
      const steps = device === "reference" ? 25 : 100;
      for (let t = 0; t < steps; t++) {
        const key = random.key(t);
        const [nextVariables, nextState, loss] = run(variables, state, key, x);
        expect(Number.isFinite(await loss.item())).toBe(true);
        dispose(variables, state, loss, key);
        [variables, state] = [nextVariables, nextState];
        live.push(memory().live);
      }
      // Less is garbage of before, collected meanwhile.
      expect(Math.max(...live.slice(5)), "bytes held after each step from the fifth on").toBe(live[5]);
    });
  });

  test("eager steps that dispose of nothing hold what is reachable, once garbage is collected", async () => {
    const before = await bytesAfterCollection();
    const x = normals([2, 8, 16]);
    const { params }: any = model.init(random.key(0), x, { deterministic: true });
    let [variables, state]: any[] = [{ params }, optimizer.init(params)];
    const held = [x, ...tree.leaves([variables, state])].reduce((sum, t) => sum + t.dataSync().byteLength, 0);
    // Programs keep small constants, and what a collection finds is not exact.
    const most = 1.5 * held;
    for (let t = 0; t < 12; t++) {
      [variables, state] = step(variables, state, random.key(t), x);
      if (t % 4 === 3) expect((await bytesAfterCollection(before + most)) - before).toBeLessThanOrEqual(most);
    }
  });
});
