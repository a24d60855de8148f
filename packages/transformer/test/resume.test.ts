/** X06: a training state of an FP8 transformer layer that is saved and loaded goes on bit for bit. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadState, saveState } from "@te/checkpoint";
import { DelayedScaling, fp8Autocast, updateCollections } from "@te/fp8";
import { adamw, applyUpdates } from "@te/optim";
import { jit, random, TeError, type Tensor, valueAndGrad } from "@te/tensor";
import { bits, normals, onEachDevice } from "@te/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TransformerLayer } from "../src/index.js";

const model = new TransformerLayer({
  hiddenSize: 16,
  mlpHiddenSize: 32,
  numAttentionHeads: 2,
  hiddenDropout: 0.1,
  useBias: true,
});
const optimizer = adamw({ learningRate: 1e-2 });
const recipe = new DelayedScaling({ amaxHistoryLen: 4 });
const inFp8 = <R>(f: () => R): R => fp8Autocast({ enabled: true, fp8Recipe: recipe }, f);
const x = normals([2, 8, 16], { dtype: "bfloat16" });

const start = () => {
  const variables: any = inFp8(() => model.init(random.key(0), x, { deterministic: true }));
  return {
    variables: { params: variables.params, fp8_metas: variables.fp8_metas },
    optimizer: optimizer.init(variables.params),
    key: random.key(1),
    step: 0,
  };
};
type State = ReturnType<typeof start>;

const trainStep = jit((variables: any, optimizerState: any, key: Tensor, step: Tensor) => {
  const rngs = { dropout: random.foldIn(key, step.astype("uint32")) };
  const loss = (v: any) =>
    model
      .apply(v, x, { rngs })
      .astype("float32")
      .sub(normals([2, 8, 16], { seed: "y" }))
      .pow(2)
      .mean();
  const [value, grads] = valueAndGrad(loss)(variables);
  const [updates, next] = optimizer.update(grads.params, optimizerState, variables.params);
  const params = applyUpdates(variables.params, updates);
  return [updateCollections({ params, fp8_metas: grads.fp8_metas }, variables), next, value];
});

function run(state: State, steps: number): { state: State; losses: number[] } {
  let { variables, optimizer, step } = state;
  const losses: number[] = [];
  for (; losses.length < steps; step++) {
    let loss: Tensor;
    [variables, optimizer, loss] = inFp8(() => trainStep(variables, optimizer, state.key, step as never));
    losses.push(loss!.dataSync()[0]!);
  }
  return { state: { ...state, variables, optimizer, step }, losses };
}

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "te-resume-"));
});
afterAll(() => rm(directory, { recursive: true }));

onEachDevice((device) => {
  test("save, load, go on: the same losses and the same state", async () => {
    const path = join(directory, `${device}.safetensors`);
    const whole = run(start(), 4);
    const first = run(start(), 3);
    await saveState(path, first.state);
    const loaded = await loadState<State>(path, { template: start() });
    expect(bits(loaded)).toEqual(bits(first.state));
    const last = run(loaded, 1);
    expect([...first.losses, ...last.losses]).toEqual(whole.losses);
    expect(new Set(whole.losses).size).toBe(4);
    expect(bits(last.state)).toEqual(bits(whole.state));
  });

  test("a missing leaf is an error, in the file and in the variables", async () => {
    const path = join(directory, `${device}-less.safetensors`);
    const state: any = start();
    const { grad_scale: _, ...rest } = state.variables.fp8_metas.attention.out;
    const less = {
      ...state.variables,
      fp8_metas: { ...state.variables.fp8_metas, attention: { ...state.variables.fp8_metas.attention, out: rest } },
    };
    await saveState(path, { ...state, variables: less });
    const error = await loadState(path, { template: state }).then(
      () => undefined,
      (e) => e,
    );
    expect(TeError.is(error) && error.code).toBe("state");
    expect(error.message).toContain("variables/fp8_metas/attention/out/grad_scale");
    expect(() => inFp8(() => model.apply(less, x, { deterministic: true }))).toThrow(
      "fp8_metas/attention/out/grad_scale does not exist",
    );
  });
});
