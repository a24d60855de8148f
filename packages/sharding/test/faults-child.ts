/**
 * What each process of faults.test.ts runs: a few steps over a mesh, in groups that share no process, and on the last rank
 * the fault that is asked for: it is killed in a collective, stops, or runs a program of its own; or half of them do.
 */
import { setTimeout } from "node:timers/promises";
import "@te/kernels-cpu";
import { full, jit, type Tensor } from "@te/tensor";
import { announceFault } from "@te/testkit/processes";
import {
  initDistributed,
  Mesh,
  PartitionSpec as P,
  processCount,
  processIndex,
  psum,
  shardMap,
  withMesh,
} from "../src/index.js";

const [fault] = process.argv.slice(2);
initDistributed();
const mesh = new Mesh({ a: 2, b: processCount() / 2 });
const isFaulty = processIndex() === processCount() - 1;

const summed = shardMap((x: Tensor) => psum(x.mul(2), "a"), {
  mesh,
  inSpecs: new P("a", "b"),
  outSpecs: new P(null, "b"),
});
const step = jit(function step(x: Tensor): Tensor {
  return summed(x.mul(x)).sqrt();
});
const evaluate = jit(function evaluate(x: Tensor): Tensor {
  return summed(x.mul(3)).sqrt();
});

await withMesh(mesh, async () => {
  const read = (y: Tensor) => Promise.all(y.addressableShards.map((shard) => shard.data()));
  const x = full([64, fault === "kill" ? 2 ** 18 : 64], 2);
  for (let i = 0; i < 4; i++) {
    const others =
      (fault === "half" && i === 0 && processIndex() % 2 === 1) || (fault === "extra" && i === 2 && isFaulty);
    if (others) {
      announceFault();
      await read(evaluate(x));
    }
    const y = step(x);
    if (fault === "kill" && i === 2 && isFaulty) {
      await setTimeout(10); // until it exchanges
      announceFault();
      process.kill(process.pid, "SIGKILL");
    }
    await read(y);
    if (fault === "stop" && i === 2 && isFaulty) {
      announceFault();
      process.kill(process.pid, "SIGSTOP");
    }
  }
  console.log(`${processIndex()} is done`);
});
