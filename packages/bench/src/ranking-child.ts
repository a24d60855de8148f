/**
 * What each process of the ranking runs: measures its share of the machine, then plans the steps of a workload on every mesh of
 * as many devices as there are processes, and runs them in turns. The first process writes a line of JSON for each mesh.
 */
import { copyBandwidth, productPeak } from "@te/kernels-cpu";
import { makePlanned, measureHardware, parseMesh, planPartitioned, resourceOf, trainingStep } from "@te/plan";
import {
  devicePut,
  globalShardGuard,
  initDistributed,
  NamedSharding,
  PartitionSpec,
  processCount,
  processIndex,
  withMesh,
} from "@te/sharding";
import { currentBackend, jit, type Tensor, tree, zeros } from "@te/tensor";
import { MESHES, WORKLOADS } from "./ranking-cases.js";
import { median } from "./timing.js";

const WARM_UP = 2;

initDistributed();
const rounds = Number(process.argv[2]);
const kernels = currentBackend();
const hardware = await measureHardware({ copyBandwidth, productPeak });
const say = (line: object): void => {
  if (processIndex() === 0) process.stdout.write(`ranking ${JSON.stringify(line)}\n`);
};
say({ hardware });

/** A step on a mesh: what it is planned to take, and a function that takes it once and gives its seconds. */
function prepare(name: string, axes: string) {
  const mesh = parseMesh(axes);
  const resource = resourceOf(mesh);
  const { size, batch } = WORKLOADS[name]!;
  const sequenceParallel = resource.tpspResource !== null;
  const training = { batch, checkpoint: false, sequenceParallel, precision: "float32" as const };
  const { step, args } = trainingStep(size, training);
  const options = { mesh, resource, hardware, donateArgnums: [0], kernels };
  const partitioned = makePlanned(step, args, options);
  const { time } = planPartitioned(partitioned, args, options);
  const inForce = <R>(body: () => R): R => withMesh(mesh, () => globalShardGuard(resource, body));
  let next = 0;
  const placed = (of: Tensor): Tensor => {
    const { dims } = partitioned.values[partitioned.inputs[next++]!]!.layout;
    const spec = new PartitionSpec(...dims.map((axes) => (axes.length > 0 ? [...axes] : null)));
    return devicePut(zeros(of.shape, { dtype: of.dtype }), new NamedSharding(mesh, spec));
  };
  let [state, tokens] = inForce(() => tree.map(placed, args as never)) as unknown as typeof args;
  const run = jit(step, { donateArgnums: [0] });
  const once = (): Promise<number> =>
    inForce(async () => {
      const start = performance.now();
      const [after, loss] = run(state, tokens);
      state = after;
      await loss.data(); // programs run whole, one after another
      loss.dispose();
      return (performance.now() - start) / 1000;
    });
  const dispose = (): void => {
    for (const leaf of [...tree.leaves(state), tokens]) (leaf as Tensor).dispose();
  };
  return { mesh: axes, planned: time, once, dispose, samples: [] as number[] };
}

for (const workload of Object.keys(WORKLOADS)) {
  const steps = MESHES[processCount()]!.map((mesh) => prepare(workload, mesh));
  // In turns, so that a busy moment of the machine meets all of them.
  for (let round = 0; round < WARM_UP + rounds; round++)
    for (const { once, samples } of steps) {
      const seconds = await once();
      if (round >= WARM_UP) samples.push(seconds);
    }
  for (const { mesh, planned, samples, dispose } of steps) {
    say({ workload, mesh, planned, measured: median(samples), least: Math.min(...samples) });
    dispose();
  }
}
