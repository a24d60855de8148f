/**
 * What each process of processes.test.ts runs: some steps of training over the mesh that is named, and the faults that are
 * asked for, before the third or after the last: "hang" of rank 1, or "hang@0,kill@1". Prints the losses.
 */
import { spawn } from "node:child_process";
import "@te/kernels-cpu";
import { adamw, applyUpdates } from "@te/optim";
import { processCount, processIndex } from "@te/sharding";
import { jit, random, type Tensor, valueAndGrad } from "@te/tensor";
import { announceFault } from "@te/testkit/processes";
import { TransformerLayer } from "../src/index.js";
import { PARALLELISMS, under } from "./mesh-setup.js";

const [name, faults = ""] = process.argv.slice(2);
const parallelism = PARALLELISMS.find((each) => each.name === name)!;

/** What this process does wrong. */
function ownFault(): string | undefined {
  const all = faults.split(",").map((each) => each.split("@"));
  return all.find(([, rank = "1"]) => Number(rank) === processIndex())?.[0];
}

/** Before the third step. */
function misbehave(fault: string): void {
  announceFault();
  if (fault === "kill") process.kill(process.pid, "SIGKILL");
  if (fault === "pause") {
    const wake = `sleep 20; kill -CONT ${process.pid}`;
    spawn("sh", ["-c", wake], { detached: true, stdio: "ignore" }).unref();
  }
  if (fault === "stop" || fault === "pause") process.kill(process.pid, "SIGSTOP");
  if (fault === "hang") for (;;);
  if (fault === "leave") process.exit(0);
  if (fault === "throw") throw new Error("it has had enough");
}

await under(parallelism, async () => {
  const layer = new TransformerLayer({
    hiddenSize: 32,
    mlpHiddenSize: 64,
    numAttentionHeads: 4,
    hiddenDropout: 0.1,
    attentionDropout: 0.1,
    enableSequenceParallel: parallelism.sequence,
  });
  const x = random.normal(random.key(1), [4, 16, 32]);
  let { params }: any = layer.init(random.key(0), x, null, null, null, { deterministic: true });
  const optimizer = adamw({ learningRate: 1e-2, eps: 1e-3 });
  let state = optimizer.init(params);
  const stepOf = (scale: number) =>
    jit((params: any, state: any, key: Tensor): any => {
      const loss = (params: any): Tensor => {
        const y = layer.apply({ params }, x, null, null, null, { rngs: { dropout: key } }) as Tensor;
        return y.mul(y).mul(scale).mean();
      };
      const [value, grads] = valueAndGrad(loss)(params);
      const [updates, next] = optimizer.update(grads, state, params);
      return [applyUpdates(params, updates), next, value];
    });
  let step = stepOf(1);
  const losses: number[] = [];
  const fault = ownFault();
  for (let i = 0; i < 4; i++) {
    if (i === 2 && fault) {
      misbehave(fault);
      if (fault === "other") step = stepOf(2);
    }
    const [nextParams, nextState, loss] = step(params, state, random.key(i));
    [params, state] = [nextParams, nextState];
    losses.push(await loss.item());
  }
  if (fault === "linger") {
    announceFault();
    for (;;);
  }
  console.log(`${processIndex()} of ${processCount()}: ${losses.join(" ")}`);
});
