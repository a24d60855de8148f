/** Options that are for submodules too: checked when the module is made, and named as they were given. */
import { expectError } from "@te/testkit";
import { expect, test } from "vitest";
import { MultiHeadAttention, TransformerLayer } from "../src/index.js";

const rates = [-0.5, 2, "0.1", null];
const block: Record<string, [rule: string, ...values: unknown[]]> = {
  layernormType: ['must be "layernorm" or "rmsnorm"', "batchnorm"],
  layernormEpsilon: ["must be a number of at least 0", -1, "small", Number.NaN],
  dropoutRngName: ['must be a string without "/"', "", 3, "a/b"],
  attentionDropout: ["must be in \\[0, 1\\)", ...rates, 1],
  rotaryPosEmbWindows: ["must be two positive numbers", [0, 10000], [1]],
  rotaryPosEmbGroupMethod: ["must be consecutive or alternate", "pairs", null],
  lowRankAdaptationScope: ["must be one of none, all, ", "attention", 3],
  lowRankAdaptationDim: ["must be an integer of at least 1", 0, 1.5],
  lowRankAdaptationAlpha: ["must be a finite number or null", Number.NaN, "1"],
  windowSize: ["must be two integers", 3, [1.5, 0]],
  softmaxType: ["must be vanilla, off_by_one or learnable", "sink", null],
  dtype: ["must be float32 or bfloat16 or float16", "int32", "float8_e4m3fn"],
  scoreMod: ["must be null", () => 0],
};
const modules: Record<string, [make: (options: object) => unknown, own: typeof block]> = {
  MultiHeadAttention: [
    (options) => new MultiHeadAttention({ headDim: 4, numAttentionHeads: 2, ...options }),
    {
      headDim: ["must be an integer of at least 1", 0, "4"],
      attnMaskType: ["must be one of no_mask, ", "casual"],
      attnBiasType: ["must be no_bias, ", "alibi"],
    },
  ],
  TransformerLayer: [
    (options) => new TransformerLayer({ hiddenSize: 8, mlpHiddenSize: 16, numAttentionHeads: 2, ...options }),
    {
      mlpHiddenSize: ["must be an integer of at least 1", 0, 1.5, "16", null],
      mlpActivations: ["must be among gelu, ", ["swish2"]],
      "mlpActivationParams.limit": ["must be a finite number", { limit: "7" }],
      hiddenDropout: ["must be in \\[0, 1\\]", ...rates],
      intermediateDropout: ["must be in \\[0, 1\\]", ...rates],
      dropPath: ["must be in \\[0, 1\\]", ...rates],
      selfAttnMaskType: ["must be one of no_mask, ", "casual"],
      selfAttnBiasType: ["must be no_bias, ", "alibi"],
    },
  ],
};
for (const [name, [make, own]] of Object.entries(modules))
  test.each(Object.entries({ ...block, ...own }))(`%s of ${name}`, (option, [rule, ...values]) => {
    const message = new RegExp(`^${name}: ${option} ${rule}.*got `);
    const code = option === "dtype" ? "dtype" : option === "scoreMod" ? "unsupported" : "option";
    for (const value of values) expectError(code, message, () => make({ [option.split(".")[0]!]: value }));
  });

test("that contradict each other", () => {
  const rms = { layernormType: "rmsnorm", zeroCenteredGamma: true };
  for (const [name, [make]] of Object.entries(modules))
    expectError("option", new RegExp(`^${name}: zeroCenteredGamma is for layernormType "layernorm"`), () => make(rms));
  const [make] = modules.TransformerLayer!;
  const adds = /^TransformerLayer: selfAttnBiasType "no_bias" does not go with a bias, .*Set enableRelativeEmbedding/;
  expectError("option", adds, () => make({ selfAttnBiasType: "no_bias" }));
  const without = { selfAttnBiasType: "pre_scale_bias", enableRelativeEmbedding: false };
  expectError("option", /^TransformerLayer: selfAttnBiasType "pre_scale_bias" needs a bias, /, () => make(without));
  expect(() => make({ ...without, selfAttnBiasType: "no_bias" })).not.toThrow();
});

test("numbers of clamped activations", () => {
  const message = /^TransformerLayer\.mlpActivationParams: unknown option beta\. Options: limit/;
  expectError("option", message, () => modules.TransformerLayer![0]({ mlpActivationParams: { beta: 1 } }));
});
