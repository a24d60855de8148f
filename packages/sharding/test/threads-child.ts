/** What each process of threads.test.ts runs. */
import { cpuInfo } from "@te/kernels-cpu";
import { initDistributed, processIndex } from "../src/index.js";

initDistributed();
const info = cpuInfo();
console.log(`${processIndex()} has ${info.available ? info.threads : "no"} threads`);
