/** The op `logsumexp`, and its function along any axis. */
import { aval, normalizeAxis } from "../aval.js";
import { full } from "../create.js";
import { defineOp } from "../define-op.js";
import { FLOATS } from "../dtype.js";
import { fail } from "../errors.js";
import { withDefaults } from "../options.js";
import { rule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { cast } from "./cast.js";
import { expectFloat, expectTensor } from "./check.js";
import { expandDims, moveAxis } from "./reshape.js";
import { select } from "./select.js";
import { softmaxOp } from "./softmax.js";

/** y = log(sum(exp(x))) over the last axis, which disappears; float32 inside. x [..., n] → y [...] of the dtype of x. */
export const logsumexpOp = defineOp("logsumexp", {
  inputs: ["x"],
  outputs: ["y"],
  params: {},
  sharding: () => rule("... n -> ...", { composed: ["n"] }),
  shape: ({ x }) => {
    expectFloat("logsumexp", { x });
    if (x.shape.length === 0) fail("shape", "logsumexp", "x must have at least one axis", x, "Reshape it to [1].");
    return { y: aval(x.shape.slice(0, -1), x.dtype) };
  },
  reference({ x }) {
    const rows = x.shape.slice(0, -1);
    if (x.shape.at(-1) === 0) return { y: full(rows, Number.NEGATIVE_INFINITY, { dtype: x.dtype }) };
    const wide = cast(x, "float32");
    const largest = wide.max(-1, { keepDims: true });
    const base = select(largest.isFinite(), largest, 0);
    const total = wide.sub(base).exp().sum(-1, { keepDims: true });
    return { y: cast(base.add(total.log()).squeeze(-1), x.dtype) };
  },
  vjp: ({ inputs: { x }, grads }) => ({ x: softmaxOp({ x }).y.mul(expandDims(grads.y, -1)) }),
  cases: (c) => [
    ...c.product({ dtype: FLOATS, shape: [[4, 1], [3, 31], [2, 33], [2, 3, 257], [5]] }, ({ dtype, shape }) => ({
      x: c.normal(shape, { dtype, mean: 1 }),
    })),
    c.case("some -inf", { x: c.values([2, 2], [0, -Infinity, -Infinity, -Infinity]) }, {}, { gradient: false }),
    c.case("over nothing", { x: c.normal([3, 0]) }, {}, { gradient: false }),
    c.bench("rows of 512", { x: c.normal([4096, 512]) }, {}, { bytes: 2 ** 23 }),
  ],
});

/** log(sum(e^x)) along an axis (the last by default), without overflow. */
export function logsumexp(x: Tensor, axis = -1, options: { readonly keepDims?: boolean } = {}): Tensor {
  expectTensor("logsumexp", { x });
  const { keepDims } = withDefaults("logsumexp", options, { keepDims: false });
  const at = normalizeAxis("logsumexp", axis, x.rank);
  const { y } = logsumexpOp({ x: moveAxis(x, at, x.rank - 1) });
  return keepDims ? expandDims(y, at) : y;
}
