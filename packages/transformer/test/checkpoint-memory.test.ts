/** What checkpoint is for: the arena of a train step, planned for kernels of every op, under every policy and depth. */
import {
  type CheckpointPolicy,
  checkpoint,
  checkpointPolicies,
  makeProgram,
  random,
  type Tensor,
  valueAndGrad,
  zeros,
} from "@te/tensor";
import { fuseElementwise, planMemory, runPasses } from "@te/tensor/backend";
import { expect, test } from "vitest";
import { TransformerLayer } from "../src/index.js";

const WIDTH = 256;
const MIB = 2 ** 20;
const x = zeros([4, 256, WIDTH]);
const layer = new TransformerLayer({
  hiddenSize: WIDTH,
  mlpHiddenSize: 4 * WIDTH,
  numAttentionHeads: 8,
  mlpActivations: ["gelu"],
  enableRelativeEmbedding: false,
  hiddenDropout: 0,
  attentionDropout: 0,
});
const { params } = layer.init(random.key(0), x.slice([0, 0, 0], [1, 1, WIDTH]));

type Stack = (params: any[], x: Tensor) => Tensor;
type Wrap = (stack: Stack) => Stack;

const under =
  (policy: CheckpointPolicy): Wrap =>
  (f) =>
    checkpoint(f, { policy });
const layers: Stack = (stack, x) => stack.reduce((x, params) => layer.apply({ params }, x, { deterministic: true }), x);
/** Applies `each` to groups of `size` layers, one group after the other. */
const inGroups =
  (size: number, each: Stack): Stack =>
  (stack, x) => {
    let y = x;
    for (let i = 0; i < stack.length; i += size) y = each(stack.slice(i, i + size), y);
    return y;
  };

/** MiB of the arena that the loss and the gradients of `count` layers take. */
function arena(count: number, stack: Stack): number {
  const loss = (params: any[], x: Tensor): Tensor => {
    const y = stack(params, x);
    return y.mul(y).mean();
  };
  const program = makeProgram(valueAndGrad(loss))(Array(count).fill(params), x);
  return Math.round(planMemory(fuseElementwise(runPasses(program, () => true))).arenaBytes / MIB);
}

const { nothingSaveable, everythingSaveable, dotsSaveable } = checkpointPolicies;

// A float32 value of x's size takes 1 MiB, one of the MLP's 4 MiB.
test.each<[string, Wrap, number, number, number]>([
  ["no checkpoint", (f) => f, 21, 69, 198],
  ["everything kept", under(everythingSaveable), 21, 69, 198],
  // The input of each layer, and the values of the one whose turn it is.
  ["nothing kept", under(nothingSaveable), 20, 23, 31],
  // Of each layer: input, q, k and v, output projection, and the first product of the MLP.
  ["products kept", under(dotsSaveable), 18, 45, 117],
])("one, four and twelve layers with %s", (_, wrap, ...expected) => {
  expect([1, 4, 12].map((count) => arena(count, inGroups(1, wrap(layers))))).toEqual(expected);
});

test("a checkpoint of checkpoints keeps the inputs of its groups, and those of the layers of one group", () => {
  const recomputed = under(nothingSaveable);
  const nested = recomputed(inGroups(1, recomputed(layers)));
  expect([4, 8].map((size) => arena(4 * size, inGroups(size, nested)))).toEqual([26, 30]);
});
