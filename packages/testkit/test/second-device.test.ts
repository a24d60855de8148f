/** What a device needs to be one stands in @te/tensor/backend: a second one runs every op, and trains, beside the first. */
import "@te/kernels-cpu";
import type { VariableTree } from "@te/layers";
import { type AdamState, adamw, applyUpdates } from "@te/optim";
import { jit, random, setDevice, type Tensor, tensor, tree, valueAndGrad } from "@te/tensor";
import { registerBackend } from "@te/tensor/backend";
import { TransformerLayer } from "@te/transformer";
import { afterEach, describe, expect, test, vi } from "vitest";
import { testBackend } from "../src/index.js";
import { heapDevice } from "./heap-device.js";

registerBackend("heap", () => heapDevice);
registerBackend("new heap", () => ({ ...heapDevice, name: "new heap" })); // of which nothing was said yet

testBackend("heap");

/** The bytes of a train state after two steps on a device. */
async function train(device: string): Promise<Uint8Array[]> {
  setDevice(device);
  const layer = new TransformerLayer({
    hiddenSize: 16,
    mlpHiddenSize: 32,
    numAttentionHeads: 2,
    hiddenDropout: 0,
    attentionDropout: 0,
    intermediateDropout: 0,
  });
  const x = random.normal(random.key(1), [2, 4, 16]);
  const optimizer = adamw({ learningRate: 0.01 });
  const { params, ...rest } = layer.init(random.key(0), x);
  const loss = (params: VariableTree, x: Tensor) => {
    const y: Tensor = layer.apply({ params, ...rest }, x);
    return y.mul(y).mean();
  };
  const step = jit(
    (state: { params: VariableTree; optimizer: AdamState }, x: Tensor) => {
      const [, grads] = valueAndGrad(loss)(state.params, x);
      const [updates, next] = optimizer.update(grads, state.optimizer, state.params);
      return { params: applyUpdates(state.params, updates), optimizer: next };
    },
    { donateArgnums: [0] },
  );
  let state = { params, optimizer: optimizer.init(params) };
  for (let i = 0; i < 2; i++) state = step(state, x);
  return tree.leaves(state).map((leaf) => new Uint8Array(leaf.dataSync().buffer.slice(0)));
}

describe("a second device", () => {
  afterEach(() => setDevice("auto"));

  test("a train step with donated state is that of the reference, bit for bit", async () => {
    expect(await train("heap")).toEqual(await train("reference"));
  });

  test("what it lacks runs on the host between its programs, and is said once", () => {
    const write = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const x = tensor([0.5, 0.25, 2]);
    const y = tensor([3, 1, 2]);
    // Twice to the host and back, results that are an argument, a value twice, and a view of what the host made.
    const f = (x: Tensor, y: Tensor) => {
      const a = x.exp().sin();
      return [a.add(y).sort().exp(), y, a, a, a.reshape([3, 1]), x.add(1)];
    };
    const on = (device: string, g: typeof f) => {
      setDevice(device);
      return g(x, y).map((t) => [t.shape, t.dataSync()]);
    };
    const wanted = on("reference", f);
    for (const g of [f, jit(f), jit(f, { donateArgnums: [0] })]) expect(on("new heap", g)).toEqual(wanted);
    const lines = write.mock.calls.map(([line]) => String(line)).filter((line) => line.startsWith("te: sin"));
    expect(lines).toEqual(["te: sin has no kernel on new heap: it is too slow here. It runs on the host, slowly.\n"]);
    write.mockRestore();
  });

  test("an error of what runs on the host names the op, and leaves the arguments", () => {
    setDevice("heap");
    const f = jit((x: Tensor, i: Tensor) => x.exp().take(i).exp(), { donateArgnums: [0] });
    const x = tensor([1, 2]);
    expect(() => f(x, tensor([5], { dtype: "int32" })).dataSync()).toThrow(/^take: /);
    expect([...f(x, tensor([1], { dtype: "int32" })).dataSync()]).toEqual([...x.exp().exp().dataSync()].slice(1));
  });
});
