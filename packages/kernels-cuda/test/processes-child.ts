/** What each process of processes.test.ts runs: that of the CPU's test of the same name, on the device "cuda". */
import "./emulated.js";
import { cudaReplays } from "@te/kernels-cuda";

process.on("exit", () => console.log(`${cudaReplays().replayed > 0 ? "graphs" : "no graph"} replayed`));
await import("../../transformer/test/processes-child.js");
