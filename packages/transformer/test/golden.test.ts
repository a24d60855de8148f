/** Attention and the transformer layer against the recorded results of the original. */
import { type LimitFor, limitOf, type Row, testRecorded } from "@te/testkit";
import { DotProductAttention, MultiHeadAttention, RelativePositionBiases, TransformerLayer } from "../src/index.js";

const limitFor: LimitFor = (_, dtype) => limitOf("composed", dtype);

const layerRow = (name: string): Row => {
  if (name.startsWith("out/")) return "layer";
  if (name.startsWith("in/")) return "layerInput";
  return name.endsWith("kernel") ? "layerWeight" : "layerNormParameter";
};
const layerLimit: LimitFor = (name, dtype) => limitOf(layerRow(name), dtype);

testRecorded("relative_position_biases", (_, options) => new RelativePositionBiases(options as never), limitFor);
testRecorded("dot_product_attention", (_, options) => new DotProductAttention(options as never), limitFor);
testRecorded("multi_head_attention", (_, options) => new MultiHeadAttention(options as never), limitFor);
testRecorded("transformer_layer_encoder", (_, options) => new TransformerLayer(options), layerLimit);
testRecorded("transformer_layer_decoder", (_, options) => new TransformerLayer(options), layerLimit);
