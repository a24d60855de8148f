/** The cases of every FP8 op on the reference backend. */
import { testBackend } from "@te/testkit";
import "../src/index.js";

testBackend("reference", { ops: ["quantize", "scaled_dot", "delayed_scaling_update"] });
