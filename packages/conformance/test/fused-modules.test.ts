/** Modules with a norm inside against the norm and the module without; names of checkpoints; dropout in attention. */
import { fp8Autocast } from "@te/fp8";
import { DenseGeneral, LayerNorm, LayerNormDenseGeneral, LayerNormMLP } from "@te/layers";
import { checkpoint, random, type Tensor, tree, valueAndGrad } from "@te/tensor";
import { expectClose, findBitDifference, normals, onEachDevice, valuesOf } from "@te/testkit";
import { DotProductAttention, MultiHeadAttention, TransformerLayer } from "@te/transformer";
import { describe, expect, test } from "vitest";

const x = normals([4, 6, 16]);
const rngs = { dropout: random.key(3) };
const noisy = (params: any): any =>
  tree.unflatten(
    tree.flatten(params)[1],
    tree
      .leavesWithPath(params)
      .map(({ path, leaf }) => leaf.add(normals(leaf.shape, { seed: path.join("/") }).mul(0.2))),
  );

onEachDevice(() => {
  describe("a norm inside is the norm outside", () => {
    const NORMS: readonly [string, object][] = [
      ["epsilon", { epsilon: 0.5 }],
      ["zeroCenteredGamma", { zeroCenteredGamma: true }],
      ["layernormType", { layernormType: "rmsnorm" }],
    ];
    const check = (inside: any, outside: any, norm: object) => {
      const { scale, ln_bias, ...rest } = noisy(inside.init(random.key(0), x).params);
      const y = new LayerNorm(norm).apply({ params: { scale, ...(ln_bias && { ln_bias }) } }, x);
      const [expected] = [outside.apply({ params: rest }, y)].flat();
      expectClose(
        inside.apply({ params: { scale, ...(ln_bias && { ln_bias }), ...rest } }, x)[0],
        expected,
        "composed",
      );
    };
    test.each(NORMS)("LayerNormDenseGeneral.%s", (_, norm) =>
      check(new LayerNormDenseGeneral({ features: 8, ...norm }), new DenseGeneral({ features: 8 }), norm),
    );
    test.each(NORMS)("LayerNormMLP.%s", (_, norm) => {
      const options = { intermediateDim: 32 };
      check(new LayerNormMLP({ ...options, ...norm }), new LayerNormMLP({ ...options, enableLayernorm: false }), norm);
    });

    test("LayerNormDenseGeneral.lowRankAdaptationAlpha", () => {
      const adapter = {
        features: 8,
        enableLowRankAdaptation: true,
        lowRankAdaptationDim: 4,
        lowRankAdaptationAlpha: 6,
      };
      check(new LayerNormDenseGeneral(adapter), new DenseGeneral(adapter), {});
    });
  });

  describe("dropout in attention", () => {
    const q = normals([2, 8, 2, 4]);
    const heads = { headDim: 4, numAttentionHeads: 2, attnMaskType: "no_mask" };
    const KINDS = {
      DotProductAttention: (o: object, call: object): Tensor =>
        new DotProductAttention({ ...heads, ...o }).apply({}, q, q, q, call),
      MultiHeadAttention: (o: object, call: object): Tensor => {
        const module = new MultiHeadAttention({ ...heads, ...o });
        return module.apply(module.init(random.key(0), x, x, { deterministic: true }), x, x, call)[0];
      },
    } as const;
    describe.each(Object.keys(KINDS) as (keyof typeof KINDS)[])("%s", (of) => {
      const run = KINDS[of];
      test(`${of}.attentionDropout`, () => {
        const dropped = run({ attentionDropout: 0.5 }, { rngs });
        expect(findBitDifference(dropped, run({}, {}))).toBeDefined();
        expect(findBitDifference(run({ attentionDropout: 0.5 }, { rngs }), dropped)).toBeUndefined();
        expect(findBitDifference(run({ attentionDropout: 0.5 }, { deterministic: true }), run({}, {}))).toBeUndefined();
      });
      test(`${of}.dropoutRngName`, () => {
        const options = { attentionDropout: 0.5, dropoutRngName: "noise" };
        expect(() => run(options, { rngs })).toThrow('random stream "noise" is missing');
        const named = run(options, { rngs: { noise: rngs.dropout } });
        expect(findBitDifference(named, run({ attentionDropout: 0.5 }, { rngs }))).toBeUndefined();
      });
    });
  });

  test("TransformerLayer.intermediateDropoutDims", () => {
    // Without attention equal tokens stay equal exactly where the mask inside the MLP is shared.
    const layer = (intermediateDropoutDims: number[]) =>
      new TransformerLayer({
        hiddenSize: 16,
        mlpHiddenSize: 64,
        numAttentionHeads: 2,
        hiddenDropout: 0,
        attentionDropout: 0,
        intermediateDropout: 0.5,
        intermediateDropoutDims,
        enableRelativeEmbedding: false,
        selfAttnMaskType: "no_mask",
      });
    const same = normals([1, 1, 16]).broadcastTo([2, 6, 16]);
    const rowsDiffer = (dims: number[]): boolean => {
      const module = layer(dims);
      const y = module.apply(module.init(random.key(0), same, { deterministic: true }), same, { rngs });
      const values = [...(valuesOf(y).values as Float64Array)];
      return values.slice(0, 16).join() !== values.slice(16, 32).join();
    };
    expect(rowsDiffer([])).toBe(true);
    expect(rowsDiffer([0, 1])).toBe(false);
  });
});

describe("names of what a checkpoint may keep", () => {
  const namesIn = (module: any, ...args: unknown[]): Set<string | undefined> => {
    const names = new Set<string | undefined>();
    const variables = module.init(random.key(0), ...args);
    const policy = ({ name }: { name: string | undefined }) => {
      names.add(name);
      return false;
    };
    const f = checkpoint((v: any) => [module.apply(v, ...args)].flat()[0].sum(), { policy });
    valueAndGrad(f as never)(variables as never);
    return names;
  };
  test.each(["ffn1CkptName", "ffn2CkptName"])("LayerNormMLP.%s", (option) => {
    const name = option.slice(0, 4);
    expect(namesIn(new LayerNormMLP({ intermediateDim: 8 }), x)).toContain(name);
    const renamed = namesIn(new LayerNormMLP({ intermediateDim: 8, [option]: "mine" }), x);
    expect(renamed).toContain("mine");
    expect(renamed).not.toContain(name);
  });
  const IN_FP8 = {
    DenseGeneral: (o: object) => new DenseGeneral({ features: 8, ...o }),
    LayerNormDenseGeneral: (o: object) => new LayerNormDenseGeneral({ features: 8, ...o }),
    LayerNormMLP: (o: object) => new LayerNormMLP({ intermediateDim: 8, ...o }),
  } as const;
  test.each(Object.entries(IN_FP8))("%s.quantizationCheckpointName", (_, make) =>
    fp8Autocast({ enabled: true }, () => {
      expect(namesIn(make({ quantizationCheckpointName: "mine" }), x)).toContain("mine");
      expect(namesIn(make({}), x)).not.toContain("mine");
    }),
  );
  test.each([
    [{}, ["combined_qkv_proj", "out_proj"]],
    [{ numGqaGroups: 1 }, ["combined_kv_proj", "out_proj"]],
    [{ fuseQkvParams: false }, ["query_proj", "key_proj", "value_proj", "out_proj"]],
  ])("of attention's projections: %j", (options, expected) => {
    const names = namesIn(new MultiHeadAttention({ headDim: 8, numAttentionHeads: 2, ...options }), x, x);
    expect([...names].filter((name) => name?.endsWith("_proj")).sort()).toEqual([...expected].sort());
  });
});
