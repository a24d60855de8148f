/** FP8 training steps of a transformer layer (grouped heads, RoPE, biases) against those of the original. */
import { testRecordedFp8 } from "@te/testkit";
import { TransformerLayer } from "../src/index.js";

testRecordedFp8({
  modules: ["TransformerLayer"],
  make: (_, options) => new TransformerLayer(options),
  recordedName: (_, name) => name.replace(/^mlp\/grad_([01])/, (_, product) => `mlp/grad_${1 - product}`),
});
