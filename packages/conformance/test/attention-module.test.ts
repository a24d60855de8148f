/** MultiHeadAttention and TransformerLayer against what they are made of, written out with their own parameters. */
import { LayerNorm, LayerNormMLP } from "@te/layers";
import { type DType, jit, random, type Tensor, tree, vjp } from "@te/tensor";
import { expectClose, expectGradients, findBitDifference, normals, onEachDevice, valuesOf } from "@te/testkit";
import {
  DotProductAttention,
  MultiHeadAttention,
  type MultiHeadAttentionOptions,
  RelativePositionBiases,
  rope,
  TransformerLayer,
  type TransformerLayerOptions,
} from "@te/transformer";
import { describe, expect, test } from "vitest";

const [BATCH, LENGTH, HEADS, DEPTH] = [6, 6, 2, 4];
const HIDDEN = HEADS * DEPTH;
const bias = normals([1, HEADS, LENGTH, LENGTH], { seed: "bias" });
const noisy = (params: any): any =>
  tree.unflatten(
    tree.flatten(params)[1],
    tree
      .leavesWithPath(params)
      .map(({ path, leaf }) => leaf.add(normals(leaf.shape, { seed: path.join("/") }).mul(0.2))),
  );

interface Reference {
  readonly options: Partial<MultiHeadAttentionOptions>;
  readonly bias?: Tensor;
  /** The norm of the input. */
  readonly norm?: ConstructorParameters<typeof LayerNorm>[0];
  readonly windows?: readonly [number, number];
  readonly attention?: object;
}

/** out = attention(rope(norm(x) · q), rope(norm(x) · k), norm(x) · v) · o, with the parameters of an unfused module. */
function composed({ bias, norm = {}, windows, attention }: Reference, params: any, x: Tensor): Tensor {
  const y = new LayerNorm(norm).apply(
    { params: { scale: params.query.scale, ...(params.query.ln_bias && { ln_bias: params.query.ln_bias }) } },
    x,
  );
  const heads = (name: string) => y.matmul(params[name].kernel).reshape([BATCH, LENGTH, HEADS, DEPTH]);
  const turn = (t: Tensor) =>
    windows ? rope(t, { method: "consecutive", windowMin: windows[0], windowMax: windows[1] }) : t;
  const module = new DotProductAttention({
    headDim: DEPTH,
    numAttentionHeads: HEADS,
    attnMaskType: "causal",
    scaleFactor: 1,
    ...attention,
  });
  const context = module.apply({}, turn(heads("query")), turn(heads("key")), heads("value"), null, bias);
  return context.reshape([BATCH, LENGTH, HIDDEN]).matmul(params.out.kernel);
}

const CASES: readonly [string, Reference][] = [
  ["MultiHeadAttention.layernormEpsilon", { options: { layernormEpsilon: 0.5 }, norm: { epsilon: 0.5 } }],
  ["MultiHeadAttention.zeroCenteredGamma", { options: { zeroCenteredGamma: true }, norm: { zeroCenteredGamma: true } }],
  ["MultiHeadAttention.layernormType", { options: { layernormType: "rmsnorm" }, norm: { layernormType: "rmsnorm" } }],
  [
    "MultiHeadAttention.rotaryPosEmbWindows",
    { options: { enableRotaryPosEmb: true, rotaryPosEmbWindows: [2, 300] }, windows: [2, 300] },
  ],
  ["MultiHeadAttention.call.bias", { options: {}, bias, attention: { attnBiasType: "post_scale_bias" } }],
  [
    "MultiHeadAttention.attnBiasType",
    {
      options: { attnBiasType: "pre_scale_bias", scaleAttnLogits: true },
      bias,
      attention: { attnBiasType: "post_scale_bias", scaleFactor: DEPTH ** -0.5 },
    },
  ],
];

const DTYPES: readonly DType[] = ["float32", "bfloat16"];

onEachDevice(() => {
  describe("attention with projections is what it is made of", () => {
    test.each(CASES)("%s", (_, reference) => {
      for (const dtype of DTYPES) {
        const options = { headDim: DEPTH, numAttentionHeads: HEADS, fuseQkvParams: false, dtype, ...reference.options };
        const module = new MultiHeadAttention(options);
        const x = normals([BATCH, LENGTH, HIDDEN], { dtype });
        const { params } = module.init(random.key(0), x, x, null, reference.bias);
        const given = tree.map((t: Tensor) => t.astype(dtype), noisy(params));
        const isPre = reference.options.attnBiasType === "pre_scale_bias";
        const run = (p: any, x: Tensor): Tensor => module.apply({ params: p }, x, x, null, reference.bias)[0];
        const wide = (p: any, x: Tensor): Tensor =>
          composed(isPre ? { ...reference, bias: bias.mul(DEPTH ** -0.5) } : reference, p, x);
        expectSame(run, wide, given, x);
      }
    });

    test("MultiHeadAttention.transposeBatchSequence", () => {
      const x = normals([BATCH, LENGTH, HIDDEN]);
      const swap = (t: Tensor) => t.transpose([1, 0, 2]);
      const make = (transposeBatchSequence: boolean) =>
        new MultiHeadAttention({ headDim: DEPTH, numAttentionHeads: HEADS, transposeBatchSequence });
      const variables = make(false).init(random.key(0), x, x);
      const turned = swap(x);
      const y = make(true).apply(variables, turned, turned)[0] as Tensor;
      expectClose(swap(y), make(false).apply(variables, x, x)[0], "attention");
    });
  });

  const small: TransformerLayerOptions = {
    hiddenSize: HIDDEN,
    mlpHiddenSize: 16,
    numAttentionHeads: HEADS,
    hiddenDropout: 0,
    attentionDropout: 0,
    enableRelativeEmbedding: false,
  };
  const x = normals([BATCH, LENGTH, HIDDEN]);
  const layerOf = (options: TransformerLayerOptions) => new TransformerLayer({ ...small, ...options });

  describe("the layer is what it is made of", () => {
    test("TransformerLayer.mlpActivationParams", () => {
      const options = { mlpActivations: ["clamped_silu", "clamped_linear"] };
      const activationParams = { limit: 0.3, alpha: 2, gluLinearOffset: 0.5 };
      const layer = layerOf({ ...options, mlpActivationParams: activationParams });
      const params = noisy(layer.init(random.key(0), x).params);
      // Without the MLP's second product the layer gives the sum that the MLP gets.
      const before = layer.apply(
        { params: { ...params, mlp: { ...params.mlp, wo_kernel: params.mlp.wo_kernel.mul(0) } } },
        x,
      );
      const mlp = new LayerNormMLP({ intermediateDim: 16, activations: options.mlpActivations, activationParams });
      expectClose(layer.apply({ params }, x), mlp.apply({ params: params.mlp }, before)[0].add(before), "layer");
    });

    test("TransformerLayer.rotaryPosEmbWindows", () => {
      const layer = layerOf({ enableRotaryPosEmb: true, rotaryPosEmbWindows: [2, 300] });
      const params = noisy(layer.init(random.key(0), x).params);
      const attention = new MultiHeadAttention({
        headDim: DEPTH,
        numAttentionHeads: HEADS,
        enableRotaryPosEmb: true,
        rotaryPosEmbWindows: [2, 300],
      });
      const silent = { ...params, mlp: { ...params.mlp, wo_kernel: params.mlp.wo_kernel.mul(0) } };
      const expected = attention.apply({ params: params.attention }, x, x)[0].add(x);
      expectClose(layer.apply({ params: silent }, x), expected, "layer");
    });

    test("TransformerLayer.relativeEmbedding", () => {
      const own = new RelativePositionBiases({
        numBuckets: 8,
        maxDistance: 20,
        numAttentionHeads: HEADS,
        name: "relpos_bias",
      });
      const layer = layerOf({ enableRelativeEmbedding: true, relativeEmbedding: own });
      const params = noisy(layer.init(random.key(0), x).params);
      expect(params.relpos_bias.rel_embedding.shape).toEqual([HEADS, 8]);
      const bias = own.apply({ params: params.relpos_bias }, LENGTH, LENGTH);
      const attention = new MultiHeadAttention({ headDim: DEPTH, numAttentionHeads: HEADS });
      const silent = { ...params, mlp: { ...params.mlp, wo_kernel: params.mlp.wo_kernel.mul(0) } };
      const expected = attention.apply({ params: params.attention }, x, x, null, bias)[0].add(x);
      expectClose(layer.apply({ params: silent }, x), expected, "layer");
    });
  });

  describe("another name of the number of heads", () => {
    const q = normals([BATCH, LENGTH, HEADS, DEPTH]);
    const KINDS = {
      RelativePositionBiases: (heads: object) => [
        new RelativePositionBiases({ numBuckets: 8, maxDistance: 16, ...heads }),
        LENGTH,
        LENGTH,
      ],
      DotProductAttention: (heads: object) => [new DotProductAttention({ headDim: DEPTH, ...heads }), q, q, q],
      MultiHeadAttention: (heads: object) => [new MultiHeadAttention({ headDim: DEPTH, ...heads }), x, x],
      TransformerLayer: (heads: object) => [
        new TransformerLayer({ ...small, numAttentionHeads: undefined, ...heads }),
        x,
      ],
    } as const;
    test.each(Object.keys(KINDS) as (keyof typeof KINDS)[])("%s.numHeads", (of) => {
      const run = (heads: object): Tensor => {
        const [module, ...args] = KINDS[of](heads) as [any, ...unknown[]];
        const result = module.apply(module.init(random.key(0), ...args), ...args);
        return Array.isArray(result) ? result[0] : result;
      };
      expect(findBitDifference(run({ numHeads: HEADS }), run({ numAttentionHeads: HEADS }))).toBeUndefined();
    });
  });
});

/** The same value, and the same gradients in parameters and input. */
function expectSame(
  run: (p: any, x: Tensor) => Tensor,
  wide: (p: any, x: Tensor) => Tensor,
  params: any,
  x: Tensor,
): void {
  const dy = normals(x.shape, { seed: "dy", dtype: x.dtype });
  const exactly = (f: typeof run, given: any, x: Tensor, dy: Tensor) =>
    jit((p: any, x: Tensor, dy: Tensor) => {
      const [y, pull] = vjp(f, p, x) as any;
      return [y, pull(dy)];
    })(given, x, dy) as any;
  const [y, [dp, dx]] = exactly(run, params, x, dy);
  const up = (t: Tensor) => t.astype("float32");
  const [want, [wantP, wantX]] = exactly(wide, tree.map(up, params), up(x), up(dy));
  const like = (t: Tensor, of: Tensor) => ({ ...valuesOf(t), dtype: of.dtype });
  expectClose(y, like(want, y), "layer", "out");
  const byName = (p: any, x: Tensor) =>
    Object.fromEntries([...tree.leavesWithPath(p).map(({ path, leaf }) => [path.join("/"), leaf]), ["x", x]]);
  const row = (name: string) =>
    name === "x" ? "layerInput" : name.endsWith("kernel") ? "layerWeight" : "layerNormParameter";
  expectGradients(byName(dp, dx), byName(wantP, wantX), row);
}
