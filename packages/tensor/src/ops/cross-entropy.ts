import { type Aval, aval } from "../aval.js";
import { zerosLike } from "../create.js";
import { FLOATS } from "../dtype.js";
import { fail } from "../errors.js";
import { defineOp } from "../op.js";
import { rule } from "../rule.js";
import type { Tensor } from "../tensor.js";
import { cast } from "./cast.js";
import { expectDType, expectFloat, expectInteger, expectShape, expectTensor } from "./check.js";
import { logsumexp } from "./logsumexp.js";
import { expandDims, squeeze } from "./reshape.js";
import { softmaxOp } from "./softmax.js";
import { oneHot, takeAlongAxis } from "./take.js";

const FN = "crossEntropy";

function expectLabels(logits: Aval, labels: Aval): void {
  expectFloat(FN, { logits });
  if (logits.shape.length === 0) fail("shape", FN, "logits must have an axis of classes", logits);
  expectDType(FN, { labels }, "int32");
  expectShape(FN, { labels }, logits.shape.slice(0, -1), "the rows of logits");
}

/** dlogits = (exp(logits - lse) - onehot(labels)) * dloss, rounded to the dtype of logits. */
export const crossEntropyBackwardOp = defineOp("cross_entropy_backward", {
  inputs: ["logits", "labels", "lse", "dloss"],
  outputs: ["dlogits"],
  params: {},
  sharding: rule("... n, ..., ..., ... -> ... n", { whole: ["n"] }),
  inPlace: [["logits", "dlogits"]],
  shape: ({ logits, labels, lse, dloss }) => {
    expectLabels(logits, labels);
    expectDType(FN, { lse, dloss }, "float32");
    expectShape(FN, { lse, dloss }, labels.shape, "the rows of logits");
    return { dlogits: logits };
  },
  reference({ logits, labels, lse, dloss }) {
    const probabilities = cast(logits, "float32").sub(expandDims(lse, -1)).exp();
    const target = oneHot(labels, logits.shape.at(-1)!);
    return { dlogits: cast(probabilities.sub(target).mul(expandDims(dloss, -1)), logits.dtype) };
  },
  cases: (c) => [
    ...c.product(
      {
        dtype: FLOATS,
        shape: [
          [3, 31],
          [2, 3, 257],
        ],
      },
      ({ dtype, shape }) => ({
        logits: c.normal(shape, { dtype }),
        labels: c.integers(shape.slice(0, -1), { high: shape.at(-1)! }),
        lse: c.normal(shape.slice(0, -1), { mean: 4, std: 0.5 }),
        dloss: c.normal(shape.slice(0, -1)),
      }),
    ),
    c.bench(
      "64 rows of 32000, float32",
      {
        logits: c.normal([64, 32000]),
        labels: c.integers([64], { high: 32000 }),
        lse: c.normal([64], { mean: 11 }),
        dloss: c.normal([64]),
      },
      {},
      { bytes: 2 * 4 * 64 * 32000 },
    ),
  ],
});

/**
 * loss = lse - logits[label] per row, with lse = logsumexp(logits). logits float [..., n], labels int32 [...] in [0, n)
 * (another label is an error of code "index") → loss and lse, float32 [...].
 */
export const crossEntropyOp = defineOp("cross_entropy", {
  inputs: ["logits", "labels"],
  outputs: ["loss", "lse"],
  params: {},
  sharding: rule("... n, ... -> ..., ...", { whole: ["n"] }),
  shape: ({ logits, labels }) => {
    expectLabels(logits, labels);
    const rows = aval(labels.shape, "float32");
    return { loss: rows, lse: rows };
  },
  reference({ logits, labels }) {
    const wide = cast(logits, "float32");
    const lse = logsumexp(wide);
    const picked = squeeze(takeAlongAxis(wide, expandDims(labels, -1), -1), -1);
    return { loss: lse.sub(picked), lse };
  },
  vjp({ inputs: { logits, labels }, outputs: { lse }, grads }) {
    const dloss = (grads.loss as Tensor | undefined) ?? zerosLike(lse);
    const { dlogits } = crossEntropyBackwardOp({ logits, labels, lse, dloss });
    const dlse = grads.lse as Tensor | undefined;
    if (!dlse) return { logits: dlogits };
    return {
      logits: dlogits.add(cast(softmaxOp({ x: cast(logits, "float32") }).y.mul(expandDims(dlse, -1)), logits.dtype)),
    };
  },
  cases: (c) => [
    ...c.product({ dtype: FLOATS, shape: [[3, 31], [4, 1], [2, 3, 257], [5]] }, ({ dtype, shape }) => ({
      logits: c.normal(shape, { dtype }),
      labels: c.integers(shape.slice(0, -1), { high: shape.at(-1)! }),
    })),
    ...(["float32", "bfloat16"] as const).map((dtype) =>
      c.bench(
        `64 rows of 32000, ${dtype}`,
        { logits: c.normal([64, 32000], { dtype }), labels: c.integers([64], { high: 32000 }) },
        {},
        { bytes: 64 * 32000 * (dtype === "float32" ? 4 : 2) },
      ),
    ),
  ],
});

/** -log(softmax(logits)[label]) of every row, float32: logits [..., n], integer labels [...] in [0, n). */
export function crossEntropy(logits: Tensor, labels: Tensor): Tensor {
  expectTensor("crossEntropy", { logits, labels });
  expectInteger("crossEntropy", { labels });
  return crossEntropyOp({ logits, labels: cast(labels, "int32") }).loss;
}
