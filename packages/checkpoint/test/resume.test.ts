/** Training that stops, saves, loads and goes on is training that never stopped: the same bits (X06). */
import { join } from "node:path";
import { adamw, applyUpdates, chain, clipByGlobalNorm, warmupCosineDecaySchedule } from "@te/optim";
import { jit, random, type Tensor, tensor, tree, valueAndGrad } from "@te/tensor";
import { describe, expect, test } from "vitest";
import { loadState, saveState } from "../src/index.js";
import { teErrorOf, temporaryDirectory } from "./helpers.js";

const learningRate = warmupCosineDecaySchedule({ initValue: 0, peakValue: 0.05, warmupSteps: 2, decaySteps: 8 });
const optimizer = chain(clipByGlobalNorm(1), adamw({ learningRate, nuDtype: "float32" }));

interface State {
  params: any;
  optimizer: any;
  fp8_metas: { scale: Tensor; history: Tensor; codes: Tensor };
  key: Tensor;
  step: Tensor;
}

function start(): State {
  const [a, b] = [random.foldIn(random.key(0), 1), random.foldIn(random.key(0), 2)];
  const params = {
    layer: { kernel: random.normal(a, [8, 4], { dtype: "bfloat16" }), bias: tensor(new Float32Array(4)) },
    "head/0": random.normal(b, [4, 1]),
  };
  return {
    params,
    optimizer: optimizer.init(params),
    fp8_metas: {
      scale: tensor([448]),
      history: tensor(new Float32Array(16)),
      codes: tensor([1, -0.5, 448], { dtype: "float8_e4m3fn" }),
    },
    key: random.key(7),
    step: tensor(0, { dtype: "int32" }),
  };
}

/** Noise from the key, a bfloat16 layer, an amax history: everything that a resumed run could get wrong. */
const trainStep = jit((state: State): [State, Tensor] => {
  const noise = random.normal(random.foldIn(state.key, state.step.astype("uint32")), [16, 8]);
  const loss = (params: any): Tensor => {
    const hidden = noise.dot(params.layer.kernel.astype("float32")).add(params.layer.bias).tanh();
    const error = hidden.dot(params["head/0"]).sub(noise.sum(1, { keepDims: true }));
    return error.mul(error).mean();
  };
  const [value, grads] = valueAndGrad(loss)(state.params);
  const [updates, next] = optimizer.update(grads, state.optimizer, state.params);
  const history = state.fp8_metas.history.add(noise.abs().max());
  return [
    {
      params: applyUpdates(state.params, updates),
      optimizer: next,
      fp8_metas: { ...state.fp8_metas, history, scale: state.fp8_metas.scale.div(history.max()) },
      key: state.key,
      step: state.step.add(1),
    },
    value,
  ];
});

function train(state: State, steps: number): { state: State; losses: number[] } {
  const losses: number[] = [];
  let now = state;
  for (let i = 0; i < steps; i++) {
    const [next, loss] = trainStep(now);
    losses.push(loss.dataSync()[0]!);
    now = next;
  }
  return { state: now, losses };
}

const bits = (state: unknown) =>
  tree.leavesWithPath(state).map(({ path, leaf }) => [path.join("/"), leaf.dtype, leaf.shape, [...leaf.dataSync()]]);

describe("resume (X06)", () => {
  test("the next steps are bit-equal, and so is the state after them", async () => {
    const path = join(await temporaryDirectory(), "state.safetensors");
    const whole = train(start(), 7);
    const first = train(start(), 3);
    await saveState(path, first.state);
    const loaded = await loadState<State>(path, { template: start() });
    expect(bits(loaded)).toEqual(bits(first.state));
    const rest = train(loaded, 4);
    expect([...first.losses, ...rest.losses]).toEqual(whole.losses);
    expect(bits(rest.state)).toEqual(bits(whole.state));
    expect(new Set(whole.losses).size, "losses that differ, so that equality says something").toBe(7);
  });

  test("a state that has lost a leaf does not load into the model", async () => {
    const path = join(await temporaryDirectory(), "state.safetensors");
    const state = start();
    await saveState(path, { ...state, params: { ...state.params, layer: { kernel: state.params.layer.kernel } } });
    const error = await teErrorOf(() => loadState(path, { template: start() }));
    expect(error.code).toBe("state");
    expect(error.message).toContain("params/layer/bias of the template is missing in the file");
  });
});
