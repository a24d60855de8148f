/** F01, F02, F05, F08, F11: the op `attention` against float64, its dropout, its repeatability and its memory. */
import "@te/kernels-cpu";
import { type DType, jit, memory, random, type Tensor, tensor, vjp } from "@te/tensor";
import { FLOATS } from "@te/tensor/op";
import {
  expectClose,
  fillArray,
  findBitDifference,
  findGradientDifference,
  limitOf,
  onEachDevice,
  presentDevices,
  toTensor,
  valuesOf,
} from "@te/testkit";
import { describe, expect, test } from "vitest";
import { attentionOp } from "../src/ops/attention.js";
import type { AttentionParams } from "../src/ops/attention-problem.js";
import { attentionOracle, type OracleSizes } from "./attention-oracle.js";

interface Wanted {
  readonly sizes: OracleSizes;
  readonly dtype: DType;
  readonly params?: Partial<AttentionParams>;
  /** Real lengths of queries and keys per sample, as a padding mask. */
  readonly lengths?: readonly (readonly [queries: number, keys: number])[];
  readonly visible?: (query: number, key: number) => boolean;
}

const normal = (shape: readonly number[], dtype: DType, seed: string): Tensor =>
  toTensor(fillArray({ kind: "normal", shape, dtype }, seed));

type Four = [Tensor, Tensor, Tensor, Tensor];

const draw = (names: readonly string[], shape: readonly number[]): Four =>
  names.map((name) => normal(shape, "bfloat16", name)) as Four;

function paddingMask({ batch, queries, keys }: OracleSizes, lengths: NonNullable<Wanted["lengths"]>): Tensor {
  const mask = new Uint8Array(batch * queries * keys).map((_, at) => {
    const [i, j] = [Math.floor(at / keys) % queries, at % keys];
    const [q, k] = lengths[Math.floor(at / keys / queries)]!;
    return i >= q || j >= k ? 1 : 0;
  });
  return tensor(mask, { shape: [batch, 1, queries, keys], dtype: "uint8" });
}

/** out and the gradients for dout, as one jit program. */
const run = (params: Partial<AttentionParams>, rest: Record<string, Tensor> = {}) =>
  jit((q: Tensor, k: Tensor, v: Tensor, dout: Tensor): Tensor[] => {
    const f = (...x: Tensor[]): Tensor => attentionOp({ q: x[0]!, k: x[1]!, v: x[2]!, ...rest }, params).out;
    const [out, pull] = vjp(f, q, k, v) as [Tensor, (dy: Tensor) => Tensor[]];
    return [out, ...pull(dout)];
  });

/** Compares one call with the oracle and returns [out, dq, dk, dv]. */
function check({ sizes, dtype, params = {}, lengths, visible = () => true }: Wanted): Four {
  const { batch, queries, keys, heads, groups, depth } = sizes;
  const q = normal([batch, queries, heads, depth], dtype, "q");
  const k = normal([batch, keys, groups, depth], dtype, "k");
  const v = normal([batch, keys, groups, depth], dtype, "v");
  const dout = normal(q.shape, dtype, "dout");
  const scale = 1 / Math.sqrt(depth);
  const results = run({ ...params, scale }, lengths && { mask: paddingMask(sizes, lengths) })(q, k, v, dout) as Four;
  const numbers = (t: Tensor): ArrayLike<number> => valuesOf(t).values;
  const expected = attentionOracle(sizes, {
    q: numbers(q),
    k: numbers(k),
    v: numbers(v),
    dout: numbers(dout),
    scale,
    visible: (b, _, i, j) => visible(i, j) && (!lengths || (i < lengths[b]![0] && j < lengths[b]![1])),
  });
  (["out", "dq", "dk", "dv"] as const).forEach((name, i) => {
    const t = results[i]!;
    const limit = limitOf(name === "out" || name === "dq" ? "attention" : "attentionKeyValue", dtype);
    const zero = expected[name].every((x) => x === 0);
    if (zero) expectNearly0(t);
    const found = !zero && findGradientDifference(t, { shape: t.shape, dtype, values: expected[name] }, limit);
    if (found) expect.fail(`${name}: ${found}`);
  });
  return results;
}

/** What has no gradient may get rounding errors of one. */
function expectNearly0(t: Tensor): void {
  for (const x of Array.from(valuesOf(t).values)) expect(Math.abs(x)).toBeLessThan(1e-5);
}

const allZero = (t: Tensor): boolean => Array.from(valuesOf(t).values).every((x) => x === 0);

describe("against float64", () => {
  onEachDevice((device) => {
    // The reference evaluator is slow: it runs the small shape only.
    const shapes: OracleSizes[] = [{ batch: 1, queries: 64, keys: 96, heads: 4, groups: 4, depth: 32 }];
    if (device !== "reference") shapes.unshift({ batch: 2, queries: 128, keys: 128, heads: 4, groups: 4, depth: 64 });

    describe.each(shapes)("F01 $batch×$queries×$keys×$heads×$depth", (sizes) => {
      const { batch, queries, keys } = sizes;
      const lengths = (
        [
          [queries - 31, keys - 45],
          [queries, keys - 1],
        ] as const
      ).slice(0, batch);
      const causal = (i: number, j: number): boolean => j <= i;
      const bottomRight = (i: number, j: number): boolean => j - i <= keys - queries;
      describe.each(FLOATS)("%s", (dtype) => {
        test("no mask", () => void check({ sizes, dtype }));
        test("causal", () => void check({ sizes, dtype, params: { causal: true }, visible: causal }));
        test("causal bottom right", () => {
          check({ sizes, dtype, params: { causal: true, bottomRight: true }, visible: bottomRight });
        });
        test.each([
          ["padding", {}, () => true],
          ["padding causal", { causal: true }, causal],
        ] as const)("%s: padded parts are exactly 0", (_, params, visible) => {
          const [out, dq, dk, dv] = check({ sizes, dtype, params, lengths, visible });
          lengths.forEach(([q, k], b) => {
            for (const t of [out, dq]) expect(allZero(t.at(b, [q, queries]))).toBe(true);
            for (const t of [dk, dv]) expect(allZero(t.at(b, [k, keys]))).toBe(true);
          });
        });
      });
    });

    describe("F02", () => {
      test.each([6, 3, 1])("12 query heads on %i key heads", (groups) => {
        const sizes = { batch: 2, queries: 33, keys: 33, heads: 12, groups, depth: 16 };
        for (const dtype of FLOATS) check({ sizes, dtype, params: { causal: true }, visible: (i, j) => j <= i });
      });
    });

    describe("F05", () => {
      test.each([
        [16, 0],
        [2, 2],
        [0, 0],
        [-1, 3],
      ] as const)("window (%i, %i)", (windowLeft, windowRight) => {
        const sizes = { batch: 1, queries: 80, keys: 80, heads: 2, groups: 2, depth: 32 };
        const visible = (i: number, j: number): boolean =>
          (windowLeft < 0 || j >= i - windowLeft) && j <= i + windowRight;
        for (const dtype of FLOATS) {
          check({ sizes, dtype, params: { windowLeft, windowRight }, visible });
        }
      });
    });
  });
});

describe("F08 dropout", () => {
  onEachDevice((device) => {
    const [batch, heads, n] = [2, 4, 64];
    const identity = Float32Array.from({ length: batch * n * heads * n }, (_, at) =>
      Math.floor(at / n / heads) % n === at % n ? 1 : 0,
    );
    const eye = (): Tensor => tensor(identity, { shape: [batch, n, heads, n] });
    const q = (): Tensor => normal([batch, n, heads, 16], "float32", "q");

    /** The weights after dropout, [B, Sq, h, Skv], from values that are the identity, and dv for dout = identity. */
    const weights = (dropout: number, seed: number): [Tensor, Tensor] => {
      const results = run({ dropout, scale: 0.2 }, { key: random.key(seed) })(q(), q(), eye(), eye());
      return [results[0]!, results[3]!];
    };

    test.each([0.1, 0.5])("rate %f: the share of kept weights is within 4 standard deviations", (rate) => {
      const kept = Array.from(valuesOf(weights(rate, 7)[0]).values, (x) => Number(x !== 0));
      const share = kept.reduce((a, b) => a + b) / kept.length;
      expect(Math.abs(share - (1 - rate))).toBeLessThan(4 * Math.sqrt((rate * (1 - rate)) / kept.length));
    });

    test("one seed gives one result, another seed another", () => {
      expect(findBitDifference(weights(0.1, 7)[0], weights(0.1, 7)[0])).toBeUndefined();
      expect(findBitDifference(weights(0.1, 7)[0], weights(0.1, 8)[0])).toBeDefined();
    });

    test("the backward pass drops what the forward pass dropped", () => {
      const [out, dv] = weights(0.5, 9); // out[b, i, h, j] and dv[b, j, h, i] are the same weights
      const transposed = dv.transpose([0, 3, 2, 1]);
      expectClose(transposed, out, "attention");
      const zeros = (t: Tensor): boolean[] => Array.from(valuesOf(t).values, (x) => x === 0);
      expect(zeros(transposed)).toEqual(zeros(out));
    });

    test("the mean over 2000 seeds is the result without dropout", () => {
      const x = normal([1, 8, 1, 4], "float32", "mean");
      const values = tensor(
        Float32Array.from({ length: 32 }, (_, i) => 1 + (i % 5)),
        { shape: [1, 8, 1, 4] },
      );
      const operands = { q: x, k: x, v: values };
      const dropped = jit((key: Tensor) => attentionOp({ ...operands, key }, { dropout: 0.1 }).out);
      const sum = new Float64Array(32);
      const seeds = device === "reference" ? 500 : 2000;
      for (let seed = 0; seed < seeds; seed++) {
        const { values: out } = valuesOf(dropped(random.key(seed)));
        for (let i = 0; i < 32; i++) sum[i]! += out[i]! / seeds;
      }
      const whole = valuesOf(attentionOp(operands).out).values;
      for (let i = 0; i < 32; i++) expect(Math.abs(sum[i]! / whole[i]! - 1)).toBeLessThan(0.03);
    });
  });
});

describe("F11", () => {
  onEachDevice(() => {
    test("10 repeats of forward and backward are equal to the bit", () => {
      const f = run({ causal: true, scale: 0.2, dropout: 0.1 }, { key: random.key(3) });
      const inputs = draw(["q", "k", "v", "dout"], [1, 300, 2, 16]);
      const first = f(...inputs);
      for (let i = 0; i < 10; i++) {
        for (const [k, t] of f(...inputs).entries()) expect(findBitDifference(t, first[k]!)).toBeUndefined();
      }
    });
  });
});

describe("long sequences", () => {
  // The reference holds every score.
  const fused = presentDevices().filter((name) => name !== "reference");
  onEachDevice((device) => {
    const LENGTH = device === "cuda" && process.env.TE_CUDA_EMULATED ? 1024 : 4096;
    const SCORES = 4 * LENGTH ** 2; // bytes of one matrix
    const rows = (rule: (i: number) => number): Tensor =>
      tensor([Array.from({ length: LENGTH }, (_, i) => rule(i))], { dtype: "int32" });
    const halves = rows((i) => 1 + Math.floor((2 * i) / LENGTH));
    const positions = rows((i) => i);
    const kinds: [string, Partial<AttentionParams>, Record<string, Tensor>][] = [
      ["causal", { causal: true }, {}],
      ["with dropout", { dropout: 0.1 }, { key: random.key(1) }],
      [
        "with segments, positions and a window",
        { windowLeft: Math.floor(0.49 * LENGTH) },
        { segmentsQ: halves, segmentsKv: halves, positionsQ: positions, positionsKv: positions },
      ],
      ["with a learnable sink", { softmaxType: "learnable", causal: true }, { sink: tensor([0.5]) }],
    ];
    test.each(kinds)("memory grows with the length, not with its square, %s", async (_, params, rest) => {
      const inputs = draw(["q", "k", "v", "dout"], [1, LENGTH, 1, 64]);
      const before = memory().arena;
      const results = run({ ...params, scale: 0.125 }, rest)(...inputs);
      for (const t of results) expect((await t.values()).every(Number.isFinite)).toBe(true);
      expect(memory().arena - before).toBeLessThan(SCORES / 2);
    });
  }, fused);
});
