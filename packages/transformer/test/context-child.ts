/** What each process of context-processes.test.ts runs: steps of training with the strategy and order that are named. */
import "@te/kernels-cpu";
import { applyUpdates, sgd } from "@te/optim";
import { processCount, processIndex } from "@te/sharding";
import { jit, random, type Tensor, valueAndGrad } from "@te/tensor";
import { TransformerLayer } from "../src/index.js";
import { ALONE, CONTEXTS, reordered } from "./context-meshes.js";
import { under } from "./mesh-setup.js";

const [name, contextParallelStrategy, order] = process.argv.slice(2) as [string, string, string];
const balanced = order === "balanced";

await under([ALONE, ...CONTEXTS].find((each) => each.name === name)!, async () => {
  const layer = new TransformerLayer({
    hiddenSize: 32,
    mlpHiddenSize: 64,
    numAttentionHeads: 4,
    numGqaGroups: 2,
    hiddenDropout: 0,
    attentionDropout: 0,
    enableRelativeEmbedding: false,
    enableRotaryPosEmb: true,
    contextParallelStrategy,
    contextParallelCausalLoadBalanced: balanced,
  });
  const [x, goal] = [1, 2].map((seed) => {
    const tokens = random.normal(random.key(seed), [2, 16, 32]);
    return balanced ? reordered(tokens, 1) : tokens;
  }) as [Tensor, Tensor];
  let { params }: any = layer.init(random.key(0), x);
  const optimizer = sgd({ learningRate: 1e-1 });
  let state = optimizer.init(params);
  const step = jit((params: any, state: any): any => {
    const loss = (params: any): Tensor => (layer.apply({ params }, x) as Tensor).sub(goal).pow(2).mean();
    const [value, grads] = valueAndGrad(loss)(params);
    const [updates, next] = optimizer.update(grads, state, params);
    return [applyUpdates(params, updates), next, value];
  });
  const losses: number[] = [];
  for (let i = 0; i < 4; i++) {
    const [nextParams, nextState, loss] = step(params, state);
    [params, state] = [nextParams, nextState];
    losses.push(await loss.item());
  }
  console.log(`${processIndex()} of ${processCount()}: ${losses.join(" ")}`);
});
