/** The layers against the recorded results of the original. */
import { type LimitFor, limitOf, testRecorded } from "@te/testkit";
import { DenseGeneral, LayerNorm, LayerNormDenseGeneral, LayerNormMLP } from "../src/index.js";

// The recorded results were rounded as well, and in bfloat16 more often: bias gradients were summed in it.
const limitFor: LimitFor = (_, dtype) => limitOf("composed", dtype);

testRecorded("layernorm", (_, options) => new LayerNorm(options), limitFor);
testRecorded("dense_general", (_, options) => new DenseGeneral(options as { features: number }), limitFor);
testRecorded(
  "layernorm_dense_general",
  (_, options) => new LayerNormDenseGeneral(options as { features: number }),
  limitFor,
);

// Outside of FP8 the original reads no activationParams: what was recorded is what the defaults give.
testRecorded("layernorm_mlp", (_, { activationParams, ...options }) => new LayerNormMLP(options), limitFor);
