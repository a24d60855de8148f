/**
 * What `bench -- mesh` starts, alone or on several processes: times train steps of the bench's layer over meshes, and
 * collectives beside those of MPI itself. The first process prints one line of JSON, which begins with {"mesh".
 */
import { collectiveTime, type KernelTiming, profile } from "@te/kernels-cpu";
import {
  activeMesh,
  allGather,
  allToAll,
  globalShardGuard,
  initDistributed,
  Mesh,
  MeshResource,
  PartitionSpec,
  processCount,
  processIndex,
  psum,
  psumScatter,
  shardMap,
  withMesh,
} from "@te/sharding";
import { partition, suggestLayouts } from "@te/sharding/partition";
import { jit, makeProgram, ones, random, type Tensor, tree, valueAndGrad } from "@te/tensor";
import type { Program } from "@te/tensor/backend";
import { layerOf, SHAPE } from "./layer.js";
import {
  type CollectiveKind,
  type CollectiveSample,
  DTYPES,
  MESHES,
  MESSAGES,
  type MeshName,
  type ProcessReport,
  type StepSample,
} from "./mesh.js";
import { best, disposeAll, median, timeOnce } from "./timing.js";

const QUICK = process.argv.includes("--quick");
const [WARM_UP, STEPS, PROFILED] = QUICK ? [1, 1, 1] : [3, 12, 3];
const LEARNING_RATE = 1e-3;
const ELEMENT_BYTES = 4;

interface TrainStep {
  /** Every call goes on from the last. */
  readonly run: () => unknown;
  /** The program of a step, before it is split. */
  readonly program: () => Program;
}

/** A train step of the layer under the mesh of now. */
function trainStep(dtype: (typeof DTYPES)[number]): TrainStep {
  const { batch, sequence, hidden } = SHAPE;
  const layer = layerOf(SHAPE, dtype);
  const draw = (seed: number): Tensor => random.normal(random.key(seed), [batch, sequence, hidden], { dtype });
  const [x, dy] = [draw(1), draw(2)];
  type Params = NonNullable<Parameters<typeof layer.apply>[0]["params"]>;
  const { params } = layer.init(random.key(0), x);
  const loss = (params: Params, x: Tensor, dy: Tensor): Tensor =>
    layer.apply({ params }, x, { deterministic: true }).mul(dy).astype("float32").sum();
  const differentiate = valueAndGrad(loss);
  const update = (params: Params, x: Tensor, dy: Tensor) => {
    const [value, grads] = differentiate(params, x, dy);
    const next: Params = tree.map((p: Tensor, g: Tensor) => p.sub(g.mul(LEARNING_RATE)), params, grads);
    return [next, value] as const;
  };
  const step = jit(update, { donateArgnums: [0] });
  let now = params;
  const run = (): unknown => {
    const [next, value] = step(now, x, dy);
    now = next;
    return value;
  };
  return { run, program: () => makeProgram(update)(now, x, dy) };
}

/** Runs body under a mesh of all processes along one axis, or as one process does. */
function onMesh<R>(axis: MeshName, body: () => R): R {
  const field = MESHES[axis];
  if (!field) return body();
  const resource = new MeshResource({ [field]: axis });
  return withMesh(new Mesh({ [axis]: processCount() }), () => globalShardGuard(resource, body));
}

const isExchange = ({ op }: KernelTiming): boolean => Object.hasOwn(EXCHANGES, op);

/** Milliseconds of a step in exchanges, and the share of them in which kernels ran meanwhile. */
function overlapOf(timings: readonly KernelTiming[]): { exchangeMs: number; hidden: number } {
  const kernels = timings.filter((each) => !isExchange(each) && each.op !== "wait");
  let [total, hidden] = [0, 0];
  for (const exchange of timings.filter(isExchange)) {
    total += exchange.ns;
    const end = exchange.startNs + exchange.ns;
    for (const { startNs, ns } of kernels)
      hidden += Math.max(0, Math.min(end, startNs + ns) - Math.max(exchange.startNs, startNs));
  }
  return { exchangeMs: total / PROFILED / 1e6, hidden: total === 0 ? 0 : hidden / total };
}

/** Milliseconds of splitting a program over the mesh of now, the best of a few. */
function timePartitioner(program: Program): number {
  const mesh = activeMesh()!;
  const layouts = suggestLayouts(mesh, program);
  const samples = Array.from({ length: STEPS }, () => {
    const start = performance.now();
    partition(mesh, program, layouts);
    return performance.now() - start;
  });
  return best(samples);
}

async function timeStep(axis: MeshName, dtype: (typeof DTYPES)[number]): Promise<StepSample> {
  return onMesh(axis, async () => {
    const { run: step, program } = trainStep(dtype);
    const partitionMs = axis === "one" ? 0 : timePartitioner(program());
    const start = performance.now();
    await timeOnce(step);
    const firstMs = performance.now() - start;
    for (let i = 1; i < WARM_UP; i++) await timeOnce(step);
    const samples: number[] = [];
    for (let i = 0; i < STEPS; i++) samples.push(await timeOnce(step));
    const timings = await profile(async () => {
      for (let i = 0; i < PROFILED; i++) await timeOnce(step);
    });
    return {
      axis,
      dtype,
      partitionMs,
      firstMs,
      bestMs: best(samples),
      medianMs: median(samples),
      ...overlapOf(timings),
    };
  });
}

const SPLIT = new PartitionSpec("line");

/** A function of parts for each kind, and how its results lie. */
const EXCHANGES: Record<CollectiveKind, readonly [(x: Tensor) => Tensor, PartitionSpec]> = {
  all_reduce: [(x) => psum(x, "line"), new PartitionSpec()],
  all_gather: [(x) => allGather(x, "line", { tiled: true }), new PartitionSpec()],
  reduce_scatter: [(x) => psumScatter(x, "line", { tiled: true }), SPLIT],
  all_to_all: [(x) => allToAll(x, "line", 0, 0, { tiled: true }), SPLIT],
};

/** What MPI calls them. */
const OF_MPI = {
  all_reduce: "Allreduce",
  all_gather: "Allgather",
  reduce_scatter: "Reduce_scatter_block",
  all_to_all: "Alltoall",
} as const;

/** The kernels alone of our own, and the calls of MPI's. */
async function timeCollective(kind: CollectiveKind, bytes: number): Promise<CollectiveSample> {
  const mesh = new Mesh({ line: processCount() });
  const times = QUICK ? 2 : Math.max(6, Math.min(200, 2 ** 27 / bytes));
  return withMesh(mesh, async () => {
    const [call, outSpecs] = EXCHANGES[kind];
    const exchange = jit(shardMap(call, { mesh, inSpecs: [SPLIT], outSpecs }));
    const elements = bytes / ELEMENT_BYTES;
    const x = ones([kind === "all_gather" ? elements : elements * processCount()]);
    const timings = await profile(() => {
      for (let i = 0; i < times; i++) disposeAll(exchange(x));
    });
    x.dispose();
    const ours = timings.filter(({ op }) => op === kind).map(({ ns }) => ns / 1e9);
    return { kind, bytes, seconds: best(ours), mpiSeconds: collectiveTime(OF_MPI[kind], bytes, times) };
  });
}

async function measure(meshes: readonly MeshName[]): Promise<ProcessReport> {
  const steps: StepSample[] = [];
  for (const dtype of DTYPES) for (const axis of meshes) steps.push(await timeStep(axis, dtype));
  const collectives: CollectiveSample[] = [];
  if (processCount() > 1) for (const { kind, bytes } of MESSAGES) collectives.push(await timeCollective(kind, bytes));
  return { mesh: processCount(), steps, collectives };
}

const meshes = process.argv.slice(2).filter((name) => name !== "--quick") as MeshName[];
if (!meshes.includes("one")) initDistributed();
const report = await measure(meshes);
if (processIndex() === 0) process.stdout.write(`${JSON.stringify(report)}\n`);
