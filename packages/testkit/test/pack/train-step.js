// Run by pack.test.ts in a folder where @te/transformer was installed from its tarball: one step of gradient descent.
import { random, tree, valueAndGrad } from "@te/tensor";
import { TransformerLayer } from "@te/transformer";

const layer = new TransformerLayer({
  hiddenSize: 32,
  mlpHiddenSize: 64,
  numAttentionHeads: 4,
  hiddenDropout: 0,
  attentionDropout: 0,
  intermediateDropout: 0,
  enableRelativeEmbedding: false,
});
const x = random.normal(random.key(1), [2, 8, 32]);
const target = random.normal(random.key(2), [2, 8, 32]);
const variables = layer.init(random.key(0), x);

const step = valueAndGrad((params) => {
  const error = layer.apply({ ...variables, params }, x).sub(target);
  return error.mul(error).mean();
});
const [before, gradients] = step(variables.params);
const params = tree.map((p, g) => p.sub(g.mul(0.1)), variables.params, gradients);
const [after] = step(params);
console.log(JSON.stringify({ before: (await before.data())[0], after: (await after.data())[0] }));
