/** Dropout in attention and in the layer: keys, rates, shared axes, whole samples. */
import { random, type Tensor } from "@te/tensor";
import { expectError, findBitDifference, normals, onEachDevice, valuesOf } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { DotProductAttention, TransformerLayer, type TransformerLayerOptions } from "../src/index.js";

const rngs = { dropout: random.key(3) };
const off: TransformerLayerOptions = {
  hiddenSize: 16,
  mlpHiddenSize: 32,
  numAttentionHeads: 2,
  hiddenDropout: 0,
  attentionDropout: 0,
  enableRelativeEmbedding: false,
};
const x = normals([4, 6, 16]);

function run(options: TransformerLayerOptions, input: Tensor, call: object): Tensor {
  const layer = new TransformerLayer({ ...off, ...options });
  return layer.apply(layer.init(random.key(0), input, { deterministic: true }), input, call);
}
const values = (t: Tensor): Float64Array => valuesOf(t).values as Float64Array;

onEachDevice(() => {
  const kinds: [string, TransformerLayerOptions][] = [
    ["hidden dropout", { hiddenDropout: 0.3 }],
    ["attention dropout", { attentionDropout: 0.3 }],
    ["intermediate dropout", { intermediateDropout: 0.3 }],
    ["drop path", { dropPath: 0.5 }],
  ];
  describe.each(kinds)("%s", (_, options) => {
    test("one key gives one result, another key another; deterministic is no dropout and needs no key", () => {
      const y = run(options, x, { rngs });
      expect(findBitDifference(run(options, x, { rngs }), y)).toBeUndefined();
      expect(findBitDifference(run(options, x, { rngs: { dropout: random.key(4) } }), y)).toBeDefined();
      expect(findBitDifference(run(options, x, { deterministic: true }), run({}, x, {}))).toBeUndefined();
      expectError("option", /random stream "dropout" is missing/, () => run(options, x, {}));
    });

    test("the stream has the name that dropoutRngName gives it, everywhere in the layer", () => {
      const named = { ...options, dropoutRngName: "noise" };
      expectError("option", /random stream "noise" is missing/, () => run(named, x, { rngs }));
      expect(
        findBitDifference(run(named, x, { rngs: { noise: rngs.dropout } }), run(options, x, { rngs })),
      ).toBeUndefined();
    });
  });

  test("drop path drops both branches of whole samples, batch-first and sequence-first", () => {
    for (const transposeBatchSequence of [false, true]) {
      const batch = 24;
      const input = normals(transposeBatchSequence ? [3, batch, 16] : [batch, 3, 16]);
      const options = { transposeBatchSequence, dropPath: 0.5 };
      const y = values(run(options, input, { rngs }));
      const full = values(run({ transposeBatchSequence }, input, {}));
      const xs = values(input);
      const kinds = Array.from({ length: batch }, (_, b) => {
        const same = (a: Float64Array, c: Float64Array) => {
          let equal = 0;
          for (let s = 0; s < 3; s++)
            for (let h = 0; h < 16; h++) {
              const at = (transposeBatchSequence ? s * batch + b : b * 3 + s) * 16 + h;
              if (a[at] === c[at]) equal++;
            }
          return equal;
        };
        expect(same(y, full), "what is kept is scaled").toBeLessThan(48);
        return same(y, xs);
      });
      // A quarter of the samples loses both branches and comes out as it went in; the others change in every element.
      expect(new Set(kinds.map((equal) => equal === 48))).toEqual(new Set([true, false]));
      for (const equal of kinds) if (equal !== 48) expect(equal).toBeLessThan(5);
    }
  });

  test.each([[[0]], [[1]], [[-2, 0]]])("hidden dropout shares its mask along %j", (hiddenDropoutDims) => {
    // Equal samples and tokens without attention between them stay equal exactly where the mask is shared.
    const input = normals([1, 1, 16]).broadcastTo([4, 6, 16]);
    const y = values(run({ hiddenDropout: 0.5, hiddenDropoutDims, selfAttnMaskType: "no_mask" }, input, { rngs }));
    const row = (b: number, s: number) => [...y.slice((b * 6 + s) * 16, (b * 6 + s + 1) * 16)].join();
    const dims = hiddenDropoutDims.map((d) => (d < 0 ? d + 3 : d));
    expect(row(0, 2) === row(3, 2), "samples").toBe(dims.includes(0));
    expect(row(1, 0) === row(1, 5), "tokens").toBe(dims.includes(1));
  });

  test("attention weights are dropped at the rate asked for", () => {
    // With q = 0 all weights are 1/S; with v = 1 a row of the result is the share kept over (1 - rate).
    const [batch, length, rate] = [8, 64, 0.25];
    const module = new DotProductAttention({
      headDim: 4,
      numAttentionHeads: 4,
      attentionDropout: rate,
      attnMaskType: "no_mask",
    });
    const shape = [batch, length, 4, 4];
    const zero = normals(shape).mul(0);
    const out = values(module.apply({}, zero, zero, zero.add(1), { rngs }));
    const mean = out.reduce((a, b) => a + b, 0) / out.length;
    const draws = batch * 4 * length * length;
    expect(Math.abs(mean * (1 - rate) - (1 - rate))).toBeLessThan(4 * Math.sqrt((rate * (1 - rate)) / draws));
    expect(new Set(out).size).toBeGreaterThan(5);
  });
});
