/** The partitioner over ops of all packages: parts put together give the whole. */
import { testPartitioned } from "../src/index.js";

await import("@te/fp8");
await import("@te/layers");
await import("@te/transformer");
await import("@te/optim");

testPartitioned();
