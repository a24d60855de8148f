/** What processes of processes.test.ts run to find each other: each has one number, and prints all. */
import "./emulated.js";
import "@te/kernels-cuda";
import { initDistributed, processCount, processIndex } from "@te/sharding";
import { tensor } from "@te/tensor";
import { allGatherOp } from "../../sharding/src/ops/collectives.js";

initDistributed({ backend: process.argv[2] === "mpi" ? "mpi" : "nccl" });
const [place, count] = [processIndex(), processCount()];
const ranks = Array.from({ length: count }, (_, rank) => rank);
const { y } = allGatherOp({ x: tensor([place + 1, 3]) }, { ranks, place, program: 0, purpose: "a test" });
const [first, , second, third] = await y.data();
console.log(`${place} of ${count}: ${first} ${second} ${third}`);
