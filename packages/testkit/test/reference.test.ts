/** The ops of the packages above @te/tensor, as their references run them. */
import { definedOps } from "@te/tensor/op";
import { judgedOps, testBackend, testGradients } from "../src/index.js";

const basic = new Set(definedOps().keys());
await import("@te/fp8");
await import("@te/layers");
await import("@te/transformer");
await import("@te/optim");
const ops = judgedOps().filter((name) => !basic.has(name));

testBackend("reference", { ops });
testGradients({ ops });
