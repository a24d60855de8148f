/** The op `cross_entropy` and its backward, with statistics that keep their digits wherever the logits lie. */
import { type Aval, aval } from "../aval.js";
import { zerosLike } from "../create.js";
import { defineOp } from "../define-op.js";
import { FLOATS } from "../dtype.js";
import { fail } from "../errors.js";
import { rule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { cast } from "./cast.js";
import { expectDType, expectFloat, expectShape, expectTensor } from "./check.js";
import { checkRange } from "./check-range.js";
import { expandDims, squeeze } from "./reshape.js";
import { select } from "./select.js";
import { softmaxOp } from "./softmax.js";
import { asIndices, oneHot, takeAlongAxis } from "./take.js";

const FN = "crossEntropy";

function expectLabels(logits: Aval, labels: Aval): void {
  expectFloat(FN, { logits });
  if (logits.shape.length === 0) fail("shape", FN, "logits must have an axis of classes", logits);
  expectDType(FN, { labels }, "int32");
  expectShape(FN, { labels }, logits.shape.slice(0, -1), "the rows of logits");
}

/** Labels in [0, classes), or an error where a result is read. */
const known = (labels: Tensor, classes: number): Tensor => {
  const wayOut = "Replace it and give its row no weight.";
  return checkRange(labels, { fn: FN, what: "every label", low: 0, high: classes - 1, wayOut });
};

/** dlogits = (e^(logits - max) / sum - onehot(labels)) * dloss, rounded to the dtype of logits. */
export const crossEntropyBackwardOp = defineOp("cross_entropy_backward", {
  inputs: ["logits", "labels", "max", "sum", "dloss"],
  outputs: ["dlogits"],
  params: {},
  checks: true,
  sharding: () => rule("... n, ..., ..., ..., ... -> ... n", { composed: ["n"] }),
  inPlace: [["logits", "dlogits"]],
  shape: ({ logits, labels, max, sum, dloss }) => {
    expectLabels(logits, labels);
    expectDType(FN, { max, sum, dloss }, "float32");
    expectShape(FN, { max, sum, dloss }, labels.shape, "the rows of logits");
    return { dlogits: logits };
  },
  reference({ logits, labels, max, sum, dloss }) {
    const probabilities = cast(logits, "float32").sub(expandDims(max, -1)).exp().div(expandDims(sum, -1));
    const classes = logits.shape.at(-1)!;
    const target = oneHot(known(labels, classes), classes);
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
        max: c.normal(shape.slice(0, -1), { mean: 2 }),
        sum: c.uniform(shape.slice(0, -1), { low: 5, high: 50 }),
        dloss: c.normal(shape.slice(0, -1)),
      }),
    ),
    c.bench(
      "64 rows of 32000, float32",
      {
        logits: c.normal([64, 32000]),
        labels: c.integers([64], { high: 32000 }),
        max: c.normal([64], { mean: 4 }),
        sum: c.uniform([64], { low: 500, high: 1000 }),
        dloss: c.normal([64]),
      },
      {},
      { bytes: 2 * 4 * 64 * 32000 },
    ),
  ],
});

/**
 * loss = log(sum) - (logits[label] - max) per row, where max is the row's largest logit and sum that of e^(logits - max), counted
 * from 0 where max is not finite. The log-sum-exp is max + log(sum), in two numbers because float32 loses log(sum) beside a
 * max of -1e9. logits float [..., n], labels int32 [...] in [0, n) (another label is an error of code "index") → loss, max and
 * sum, float32 [...]. Gradients flow through max + log(sum), which is given out by sum; max alone has none.
 */
export const crossEntropyOp = defineOp("cross_entropy", {
  inputs: ["logits", "labels"],
  outputs: ["loss", "max", "sum"],
  saved: ["max", "sum"],
  params: {},
  checks: true,
  sharding: () => rule("... n, ... -> ..., ..., ...", { composed: ["n"] }),
  shape: ({ logits, labels }) => {
    expectLabels(logits, labels);
    const rows = aval(labels.shape, "float32");
    return { loss: rows, max: rows, sum: rows };
  },
  reference({ logits, labels }) {
    const wide = cast(logits, "float32");
    const max = wide.max(-1);
    const base = select(max.isFinite(), max, 0);
    const sum = wide.sub(expandDims(base, -1)).exp().sum(-1);
    const target = expandDims(known(labels, logits.shape.at(-1)!), -1);
    const picked = squeeze(takeAlongAxis(wide, target, -1), -1);
    return { loss: sum.log().sub(picked.sub(base)), max, sum };
  },
  vjp({ inputs: { logits, labels }, outputs: { max, sum }, grads }) {
    if (grads.max && !grads.sum)
      fail("unsupported", FN, "max alone has no derivative", undefined, "Use it with sum: max + log(sum).");
    const dloss = (grads.loss as Tensor | undefined) ?? zerosLike(sum);
    const { dlogits } = crossEntropyBackwardOp({ logits, labels, max, sum, dloss });
    if (!grads.sum) return { logits: dlogits };
    // Whatever depends on max + log(sum) alone has the same derivative with max as a constant.
    const dlse = grads.sum.mul(sum);
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
  expectTensor("crossEntropy", { logits });
  return crossEntropyOp({ logits, labels: asIndices("crossEntropy", labels, "labels") }).loss;
}
