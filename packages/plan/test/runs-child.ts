/**
 * What runs.test.ts runs, alone or as one of several processes: plans steps, runs them, and writes what both say, a line of
 * JSON for each. Arguments: numbers of the configurations.
 */
import "@te/kernels-cpu";
import { processCount, processIndex } from "@te/sharding";
import { type Collective, sentSoFar } from "@te/sharding/partition";
import { currentBackend, jit, memory, type Tensor, tree } from "@te/tensor";
import { bytesAfterCollection } from "@te/testkit";
import { CONFIGURATIONS, planOf, underMesh } from "./runs-setup.js";

/** What was planned and what was counted. */
export interface Run {
  readonly index: number;
  readonly rank: number;
  readonly memory: { readonly planned: number; readonly counted: number };
  /** Bytes that this process sends in a step, by kind of collective. */
  readonly sent: {
    readonly planned: Readonly<Record<string, number>>;
    readonly counted: Readonly<Record<string, number>>;
  };
}

type Sent = Record<string, number>;

/** Up to so many bytes every process sends all of them to all others, instead of the sums of shares. */
const SMALL = 2 ** 16;

const sentByProcesses = ({ kind, bytes, devices, sent }: Collective): number =>
  kind === "all_reduce" && bytes <= SMALL ? bytes * (devices - 1) : sent;

/** Bytes of tensors between two steps. */
const held = ({ plan: { memory } }: ReturnType<typeof planOf>): number =>
  memory.parameters + memory.optimizer + memory.inputs;

const kernels = currentBackend();
const isAlone = process.argv[2] === "alone";
if (!isAlone) (await import("@te/sharding")).initDistributed();

const planned = process.argv.slice(3).map((text) => {
  const index = Number(text);
  return { index, ...planOf(CONFIGURATIONS[index]!, kernels, isAlone) };
});
// The arena of a device is as large as the largest so far: every step needs a larger one than those before it.
planned.sort((a, b) => a.plan.memory.peak - held(a) - b.plan.memory.peak + held(b));

for (const each of planned) {
  await underMesh(each, async ([first, tokens]) => {
    const step = jit(each.training.step, { donateArgnums: [0] });
    let [state, loss] = step(first, tokens);
    await loss.data();
    loss.dispose();
    await bytesAfterCollection(held(each));
    const before = sentSoFar();
    currentBackend().resetPeak();
    [state, loss] = step(state, tokens);
    await loss.data();
    const { peak, arena } = memory();
    const after = sentSoFar();
    const counted: Sent = {};
    for (const [kind, bytes] of Object.entries(after))
      if (bytes > (before[kind] ?? 0)) counted[kind] = bytes - (before[kind] ?? 0);
    const sent: Sent = {};
    for (const of of each.partitioned.collectives()) sent[of.kind] = (sent[of.kind] ?? 0) + sentByProcesses(of);
    const run: Run = {
      index: each.index,
      rank: processIndex(),
      memory: { planned: each.plan.memory.peak, counted: peak + arena },
      sent: { planned: sent, counted },
    };
    if (processCount() !== (isAlone ? 1 : each.mesh.size)) throw new Error("another world than the mesh");
    process.stdout.write(`run ${JSON.stringify(run)}\n`);
    for (const leaf of tree.leaves([state, loss, tokens])) (leaf as Tensor).dispose();
  });
}
