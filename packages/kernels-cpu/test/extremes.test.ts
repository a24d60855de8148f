/** Rows with infinities, NaN and numbers near the largest: the kernels give NaN, infinity and numbers where the reference does. */
import {
  layerNormBackwardOp,
  layerNormOp,
  layerNormQuantizeOp,
  rmsNormBackwardOp,
  rmsNormOp,
  rmsNormQuantizeOp,
} from "@te/layers";
import { crossEntropy, full, grad, logsumexp, setDevice, softmax, type Tensor, tensor } from "@te/tensor";
import { softmaxBackwardOp } from "@te/tensor/op";
import { afterAll, describe, expect, test } from "vitest";
import { cpuInfo } from "../src/index.js";

afterAll(() => setDevice("auto"));

const [ROWS, WIDEST] = [24, 70];
const [LARGEST_BFLOAT16, LARGEST, TINY] = [3.3895313892515355e38, 3.4028234663852886e38, 2 ** -133];
const NUMBERS = [0, -0, 1, -1, 1e30, 3e38, -3e38, LARGEST_BFLOAT16, -LARGEST_BFLOAT16, TINY, -TINY];
const ODD = [...NUMBERS, LARGEST, -LARGEST, Infinity, -Infinity, NaN]; // LARGEST is infinite in bfloat16
/** Products with these stay inside of float32: beyond it, a result depends on which factor comes first. */
const COTANGENTS = [0, -0, 1, -1, 1e30, TINY, Infinity, -Infinity, NaN];

/** Rows of one to three kinds of numbers each: of more, every row would hold NaN. */
function draw(width: number, from: readonly number[], seed: number, rows = ROWS): Tensor {
  let state = seed;
  const pick = <T>(list: readonly T[]): T => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return list[Math.floor((state / 2 ** 32) * list.length)]!;
  };
  const values = Array.from({ length: rows }, () => {
    const kinds = Array.from({ length: pick([1, 2, 3]) }, () => pick(from));
    return Array.from({ length: width }, () => pick(kinds));
  });
  return tensor(Float32Array.from(values.flat()), { shape: [rows, width] });
}

type Dtype = "float32" | "bfloat16";
const inputs = (width: number, dtype: Dtype) => ({
  x: draw(width, ODD, width).astype(dtype),
  dy: draw(width, COTANGENTS, 1000 + width).astype(dtype),
  weights: softmax(draw(width, [0, 1, -1, -Infinity], 2000 + width)).astype(dtype),
  gamma: draw(width, [1, -1, 0.5], 3000 + width, 1)
    .squeeze(0)
    .astype(dtype),
  labels: full([ROWS], width >> 1, { dtype: "int32" }),
  scale: tensor([1]),
});

const OPS: Record<string, (given: ReturnType<typeof inputs>) => Record<string, Tensor>> = {
  layer_norm({ x, dy, gamma, scale }) {
    const { y, mean, rstd } = layerNormOp({ x, gamma, beta: gamma });
    const fused = layerNormQuantizeOp({ x, gamma, beta: gamma, scale });
    const { dx } = layerNormBackwardOp({ dy, x, gamma, mean, rstd });
    return { y, mean, rstd, dx, fusedMean: fused.mean, fusedRstd: fused.rstd };
  },
  rms_norm({ x, dy, gamma, scale }) {
    const { y, rstd } = rmsNormOp({ x, gamma });
    const { dx } = rmsNormBackwardOp({ dy, x, gamma, rstd });
    return { y, rstd, dx, fusedRstd: rmsNormQuantizeOp({ x, gamma, scale }).rstd };
  },
  softmax: ({ x }) => ({ y: softmax(x) }),
  softmax_backward: ({ dy, weights }) => ({ dx: softmaxBackwardOp({ y: weights, dy }).dx }),
  logsumexp: ({ x }) => ({ y: logsumexp(x) }),
  cross_entropy: ({ x, labels }) => ({
    loss: crossEntropy(x, labels),
    dx: grad((logits: Tensor) => crossEntropy(logits, labels).sum())(x),
  }),
  reduce_sum: ({ x }) => ({ y: x.sum(-1) }),
  reduce_max: ({ x }) => ({ y: x.max(-1) }),
  reduce_min: ({ x }) => ({ y: x.min(-1) }),
};

/**
 * Rows whose numbers of one sign have a sum beyond float32, and which have some of the other sign: whether that sum is met on
 * the way is a matter of the order of summation, which is free.
 */
function dependsOnOrder(op: string, row: readonly number[]): boolean {
  const side = (sign: number): number => row.reduce((sum, v) => sum + Math.max(sign * v, 0), 0);
  const [up, down] = [side(1), side(-1)];
  return ["layer_norm", "reduce_sum"].includes(op) && Math.max(up, down) > LARGEST && Math.min(up, down) > 0;
}

const largest = (values: readonly number[]): number => Math.max(0, ...values.filter(Number.isFinite).map(Math.abs));

/** NaN and infinities alike; numbers close, where gradients of equal numbers cancel but for rounding. */
function agree(name: string, wanted: readonly number[], got: readonly number[], dy: readonly number[]): boolean {
  const scale = name === "dx" ? Math.max(largest(wanted), 1e3 * largest(dy)) : largest(wanted); // rstd is at most 1e3
  return wanted.every((w, i) => Object.is(w, got[i]) || w === got[i] || Math.abs(w - got[i]!) <= 0.01 * scale);
}

const rowsOf = async (t: Tensor): Promise<number[][]> => {
  const values = [...(await t.astype("float32").values())] as number[];
  const width = values.length / ROWS;
  return Array.from({ length: ROWS }, (_, row) => values.slice(row * width, (row + 1) * width));
};

async function resultsOn(device: string, op: string, width: number, dtype: Dtype) {
  setDevice(device);
  const given = inputs(width, dtype);
  const results = Object.entries(OPS[op]!(given));
  const rows = await Promise.all(results.map(async ([name, t]) => [name, await rowsOf(t)] as const));
  return { rows, x: await rowsOf(given.x), dy: await rowsOf(given.dy) };
}

describe.skipIf(!cpuInfo().available).each(["float32", "bfloat16"] as const)("%s", (dtype) => {
  test.each(Object.keys(OPS))("%s", async (op) => {
    const found: string[] = [];
    for (let width = 1; width <= WIDEST; width++) {
      const wanted = await resultsOn("reference", op, width, dtype);
      const got = await resultsOn("cpu", op, width, dtype);
      for (const [n, [name, rows]] of wanted.rows.entries())
        for (const [i, row] of rows.entries()) {
          const [x, dy] = [wanted.x[i]!, wanted.dy[i]!];
          const other = got.rows[n]![1][i]!;
          if (dependsOnOrder(op, x) || agree(name, row, other, dy)) continue;
          found.push(`${name} of x [${x}], dy [${dy}]: wanted [${row}], got [${other}]`);
        }
    }
    expect(found.slice(0, 3)).toEqual([]);
  });
});
