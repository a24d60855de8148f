/** The function logSoftmax, made of logsumexp so that large logits keep their differences. */
import { normalizeAxis } from "../aval.js";
import type { Tensor } from "../tensor.js";
import { cast } from "./cast.js";
import { expectFloat, expectTensor } from "./check.js";
import { logsumexp } from "./logsumexp.js";
import { stopGradientOp } from "./mark.js";

/** log(softmax(x)) along an axis (the last by default), in float32 and rounded to the dtype of x. */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  expectTensor("logSoftmax", { x });
  expectFloat("logSoftmax", { x });
  const wide = cast(x, "float32");
  const at = normalizeAxis("logSoftmax", axis, x.rank);
  // From the largest, beside which float32 would lose the rest of the log-sum-exp where it is large.
  const below = wide.sub(stopGradientOp({ x: wide.max(at, { keepDims: true }) }).y);
  return cast(below.sub(logsumexp(below, at, { keepDims: true })), x.dtype);
}
