import { testBackend } from "@te/testkit";
import "../src/index.js";

testBackend("reference", { ops: ["quantize", "scaled_dot", "delayed_scaling_update"] });
