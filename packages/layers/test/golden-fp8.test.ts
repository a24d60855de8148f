/** Several FP8 training steps of the layers against those of the original. */
import { testRecordedFp8 } from "@te/testkit";
import { DenseGeneral, LayerNormDenseGeneral, LayerNormMLP } from "../src/index.js";

const classes = { DenseGeneral, LayerNormDenseGeneral, LayerNormMLP };

testRecordedFp8({
  modules: Object.keys(classes),
  make: (of, options) => new classes[of.module as keyof typeof classes](options as { features: number }),
  recordedName(of, name) {
    // ["relu", "relu"] is not among the activations that the original fuses.
    const isFused = of.module === "LayerNormMLP" && String(of.options.activations) !== "relu,relu";
    return isFused ? name.replace(/grad_([01])/, (_, product) => `grad_${1 - product}`) : name;
  },
});
