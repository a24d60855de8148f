/** X06: names, shapes, dtypes and logical axes of the variables of attention and of the transformer layer. */
import { DelayedScaling, fp8Autocast } from "@te/fp8";
import type { Module, Variables } from "@te/layers";
import { random, type Tensor } from "@te/tensor";
import { describeLeaves, normals } from "@te/testkit";
import { describe, expect, test } from "vitest";
import {
  DotProductAttention,
  MultiHeadAttention,
  RelativePositionBiases,
  TransformerLayer,
  TransformerLayerType,
} from "../src/index.js";

const recipe = new DelayedScaling({ amaxHistoryLen: 4 });
const x = normals([2, 3, 8]);
const encoded = normals([2, 5, 8]);

const metasOf = (path: string, ...postfixes: string[]): string[] =>
  ["grad", "kernel", "x"].flatMap((role) =>
    (postfixes.length ? postfixes : [""]).flatMap((postfix) => [
      `${path}/${role}${postfix}_amax_history float32[4]`,
      `${path}/${role}${postfix}_scale float32[1]`,
    ]),
  );

function axesOf(at: unknown, path = ""): string[] {
  if (Array.isArray(at)) return [`${path.slice(1)}: ${at.map((a) => String(a).replace("nvte_", ""))}`];
  return Object.entries(at as object)
    .flatMap(([name, child]) => axesOf(child, `${path}/${name}`))
    .sort();
}

interface Row {
  readonly title: string;
  readonly module: Module;
  readonly args: readonly unknown[];
  readonly params: string[];
  readonly axes: string[];
  readonly metas: string[];
}

const self = [x, x];
const heads = { headDim: 2, numAttentionHeads: 4 };
const layer = { hiddenSize: 8, mlpHiddenSize: 16, numAttentionHeads: 4, hiddenDropout: 0, attentionDropout: 0 };
const column = "w_fsdp,w_tp";
const packed = "w_fsdp,w_joined,w_tp";
const row = "w_tp,w_fsdp";
const norm = (path: string): string[] => [`${path}/ln_bias: w_no_shard`, `${path}/scale: w_no_shard`];
const normParams = (path: string): string[] => [`${path}/ln_bias float32[8]`, `${path}/scale float32[8]`];
const mlpParams = [
  "mlp/ln_bias float32[8]",
  "mlp/scale float32[8]",
  "mlp/wi_kernel float32[8,1,16]",
  "mlp/wo_kernel float32[16,8]",
];
const mlpAxes = [...norm("mlp"), `mlp/wi_kernel: ${packed}`, `mlp/wo_kernel: ${row}`];

const rows: Row[] = [
  {
    title: "MultiHeadAttention, fused",
    module: new MultiHeadAttention(heads),
    args: self,
    params: ["out/kernel float32[8,8]", "qkv/kernel float32[8,3,8]", ...normParams("qkv")],
    axes: [`out/kernel: ${row}`, `qkv/kernel: ${packed}`, ...norm("qkv")],
    metas: [...metasOf("out"), ...metasOf("qkv")],
  },
  {
    title: "MultiHeadAttention, fused, grouped heads, biases",
    module: new MultiHeadAttention({ ...heads, numGqaGroups: 2, useBias: true }),
    args: self,
    params: [
      "kv/bias float32[2,4]",
      "kv/kernel float32[8,2,4]",
      "out/bias float32[8]",
      "out/kernel float32[8,8]",
      "query/bias float32[8]",
      "query/kernel float32[8,8]",
      ...normParams("query"),
    ],
    axes: [
      "kv/bias: w_joined,w_tp",
      `kv/kernel: ${packed}`,
      "out/bias: w_no_shard",
      `out/kernel: ${row}`,
      "query/bias: w_tp",
      `query/kernel: ${column}`,
      ...norm("query"),
    ],
    metas: [...metasOf("kv"), ...metasOf("out"), ...metasOf("query")],
  },
  {
    title: "MultiHeadAttention, not fused, rmsnorm, adapters",
    module: new MultiHeadAttention({
      ...heads,
      fuseQkvParams: false,
      layernormType: "rmsnorm",
      lowRankAdaptationScope: "output_proj",
      lowRankAdaptationDim: 3,
      dtype: "bfloat16",
    }),
    args: self,
    params: [
      "key/kernel bfloat16[8,8]",
      "out/kernel bfloat16[8,8]",
      "out/lora_a_kernel bfloat16[8,3]",
      "out/lora_b_kernel bfloat16[3,8]",
      "query/kernel bfloat16[8,8]",
      "query/scale bfloat16[8]",
      "value/kernel bfloat16[8,8]",
    ],
    axes: [
      `key/kernel: ${column}`,
      `out/kernel: ${row}`,
      "out/lora_a_kernel: null,null",
      "out/lora_b_kernel: null,null",
      `query/kernel: ${column}`,
      "query/scale: w_no_shard",
      `value/kernel: ${column}`,
    ],
    metas: ["key", "out", "query", "value"].flatMap((path) => metasOf(path)),
  },
  {
    title: "MultiHeadAttention, cross, without norm",
    module: new MultiHeadAttention({ ...heads, inputLayernorm: false }),
    args: [x, normals([2, 5, 6])],
    params: ["kv/kernel float32[6,2,8]", "out/kernel float32[8,8]", "query/kernel float32[8,8]"],
    axes: [`kv/kernel: ${packed}`, `out/kernel: ${row}`, `query/kernel: ${column}`],
    metas: [...metasOf("kv"), ...metasOf("out"), ...metasOf("query")],
  },
  {
    title: "TransformerLayer ENCODER",
    module: new TransformerLayer(layer),
    args: [x],
    params: [
      "attention/out/kernel float32[8,8]",
      "attention/qkv/kernel float32[8,3,8]",
      ...normParams("attention/qkv"),
      ...mlpParams,
      "relpos_bias/rel_embedding float32[4,32]",
    ],
    axes: [
      `attention/out/kernel: ${row}`,
      `attention/qkv/kernel: ${packed}`,
      ...norm("attention/qkv"),
      ...mlpAxes,
      "relpos_bias/rel_embedding: heads,relpos_buckets",
    ],
    metas: [...metasOf("attention/out"), ...metasOf("attention/qkv"), ...metasOf("mlp", "_0", "_1")],
  },
  {
    title: "TransformerLayer DECODER, output norm",
    module: new TransformerLayer({
      ...layer,
      layerType: TransformerLayerType.DECODER,
      outputLayernorm: true,
      enableRelativeEmbedding: false,
    }),
    args: [x, encoded, null, normals([2, 1, 3, 5]).mul(0).astype("uint8")],
    params: [
      "encoder_decoder_attention/kv/kernel float32[8,2,8]",
      "encoder_decoder_attention/out/kernel float32[8,8]",
      "encoder_decoder_attention/query/kernel float32[8,8]",
      ...normParams("encoder_decoder_attention/query"),
      ...mlpParams,
      ...normParams("output_layernorm"),
      "self_attention/out/kernel float32[8,8]",
      "self_attention/qkv/kernel float32[8,3,8]",
    ],
    axes: [
      `encoder_decoder_attention/kv/kernel: ${packed}`,
      `encoder_decoder_attention/out/kernel: ${row}`,
      `encoder_decoder_attention/query/kernel: ${column}`,
      ...norm("encoder_decoder_attention/query"),
      ...mlpAxes,
      ...norm("output_layernorm"),
      `self_attention/out/kernel: ${row}`,
      `self_attention/qkv/kernel: ${packed}`,
    ],
    metas: [
      ...metasOf("encoder_decoder_attention/kv"),
      ...metasOf("encoder_decoder_attention/out"),
      ...metasOf("encoder_decoder_attention/query"),
      ...metasOf("mlp", "_0", "_1"),
      ...metasOf("self_attention/out"),
      ...metasOf("self_attention/qkv"),
    ],
  },
];

const init = ({ module, args }: Row): Variables => module.init(random.key(0), ...args);

describe("X06", () => {
  test.each(rows)("$title: params and params_axes", (row) => {
    const variables = init(row);
    expect(Object.keys(variables).sort()).toEqual(["params", "params_axes"]);
    expect(describeLeaves(variables.params)).toEqual(row.params);
    expect(axesOf(variables.params_axes)).toEqual([...row.axes].sort());
  });

  test.each(rows)("$title: fp8_metas", (row) => {
    const variables = fp8Autocast({ enabled: true, fp8Recipe: recipe }, () => init(row));
    expect(describeLeaves(variables.params)).toEqual(row.params);
    expect(describeLeaves(variables.fp8_metas)).toEqual([...row.metas].sort());
  });

  test("learnable softmax has a parameter", () => {
    const module = new DotProductAttention({ ...heads, softmaxType: "learnable" });
    const q = normals([2, 3, 4, 2]);
    const variables = module.init(random.key(0), q, q, q);
    expect(describeLeaves(variables.params)).toEqual(["_UnfusedDotProductAttention_0/softmax_offset float32[1,4,1,1]"]);
    expect(axesOf(variables.params_axes)).toEqual([
      "_UnfusedDotProductAttention_0/softmax_offset: null,head,null,null",
    ]);
    const zero = (variables.params as any)._UnfusedDotProductAttention_0.softmax_offset as Tensor;
    expect([...zero.dataSync()]).toEqual([0, 0, 0, 0]);
  });

  test("RelativePositionBiases", () => {
    const module = new RelativePositionBiases({
      numBuckets: 8,
      maxDistance: 16,
      numAttentionHeads: 2,
      dtype: "bfloat16",
    });
    expect(describeLeaves(module.init(random.key(0), 3, 4).params)).toEqual(["rel_embedding bfloat16[2,8]"]);
  });

  test("the cache of decoding", () => {
    const module = new TransformerLayer({ ...layer, numGqaGroups: 2, transposeBatchSequence: true });
    const variables = module.init(random.key(0), normals([7, 2, 8], { dtype: "bfloat16" }), { decode: true });
    expect(describeLeaves(variables.cache)).toEqual([
      "attention/cache_index int32[]",
      "attention/cached_key bfloat16[7,2,2,2]",
      "attention/cached_value bfloat16[7,2,2,2]",
    ]);
  });
});
