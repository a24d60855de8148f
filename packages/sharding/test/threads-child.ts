/** What each process of threads.test.ts runs. */
import { cpuInfo } from "@te/kernels-cpu";
import { initDistributed, processIndex } from "../src/index.js";

initDistributed();
console.log(`${processIndex()} has ${cpuInfo().threads} threads`);
