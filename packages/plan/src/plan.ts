/** plan: what a step costs every device of a mesh, without running it. */
import { globalShardGuard, Mesh, MeshResource, withMesh } from "@te/sharding";
import {
  type Collective,
  emit,
  exchangeInProgram,
  isForMesh,
  overlapExchanges,
  type PartitionedProgram,
  partition,
  partsOn,
  suggestLayouts,
} from "@te/sharding/partition";
import { makeProgram } from "@te/tensor";
import { type Backend, fuseElementwise, type NodeSpec, Program, type ProgramNode, runPasses } from "@te/tensor/backend";
import { expectArray, expectFunction, fail, withDefaults } from "@te/tensor/op";
import { leavesOf } from "./abstract.js";
import { describeExchange, exchangeOf, linkOf, scratchOfExchange } from "./exchange.js";
import { flopsOf } from "./flops.js";
import { type Hardware, hardwareOf, type Link } from "./hardware.js";
import { type Memory, type Role, usageOf } from "./memory.js";
import { type CriticalPath, schedule, type Time } from "./schedule.js";

/** Options of {@link plan}. */
export interface PlanOptions {
  readonly mesh: Mesh;
  /** Which axis serves what. Default: none. */
  readonly resource?: MeshResource;
  /** A profile, or the name of one of {@link HARDWARE}. Default "h100-sxm". */
  readonly hardware?: string | Hardware;
  /** Positions of arguments whose memory the results take over, as of jit. Default []. */
  readonly donateArgnums?: readonly number[];
  /** The device whose kernels the programs are compiled for. Default: one that has a kernel for every op. */
  readonly kernels?: Kernels;
  /** All devices in one process, as where nobody started several: memory and operations are those of all of them. Default false. */
  readonly virtual?: boolean;
  /** What the argument at a path such as "0.variables.params.kernel" is. Default: by the names in its path. */
  readonly roleOf?: (path: string) => Role;
}

/** What a device says of its kernels: `currentBackend()` is one. */
export type Kernels = Pick<Backend, "supports" | "passes" | "scratchBytes">;

/** Has a kernel for every op, and fuses what is elementwise. */
const ALL_KERNELS: Kernels = {
  supports: () => true,
  passes: [{ name: "fuse elementwise", run: (program) => fuseElementwise(program) }],
};

/** Collectives of one kind over the same axes, on one device. */
export interface Traffic {
  readonly kind: Collective["kind"];
  readonly axes: readonly string[];
  readonly link: Link;
  readonly count: number;
  /** As `bytes` and `sent` of {@link Collective}, summed up. */
  readonly bytes: number;
  readonly sent: number;
}

/** What a step costs one device. All devices do alike. */
export interface Plan {
  readonly mesh: Mesh;
  readonly hardware: Hardware;
  readonly memory: Memory;
  readonly fits: boolean;
  /** Floating-point operations of products and attention on one device, and how many of them compute something again. */
  readonly flops: number;
  readonly recomputed: number;
  readonly traffic: readonly Traffic[];
  readonly time: Time;
  /** Share of the time of collectives that passes while something is computed. */
  readonly hidden: number;
  /** Share of the device's peak of products in 16 bits that the step reaches, without what it computes again. */
  readonly utilization: number;
  readonly criticalPath: CriticalPath;
  /** Memory over the step, after each node. */
  readonly timeline: readonly TimelinePoint[];
}

/** Bytes that are alive when an op ends. */
export interface TimelinePoint {
  readonly second: number;
  readonly bytes: number;
  readonly op?: string;
}

/** By the names in its path: those of an optimizer's state count before those of what it is the state of. */
function roleByName(path: string): Role {
  const names = path.split(".");
  if (names.some((name) => ["optimizer", "mu", "nu", "trace", "count"].includes(name))) return "optimizer";
  return names.includes("params") ? "parameters" : "inputs";
}

/**
 * Plans a step for arguments of which shapes and dtypes count: abstract tensors hold nothing. Inputs lie as constraints in the
 * step, such as those of parameters of modules, suggest. Nothing is allocated and nothing runs.
 *
 * Memory is that of the program as a device with these kernels compiles it. Times are those of a
 * roofline: no kernel reaches it. Throws TeError "option" for a mesh or hardware that is none, and what the step throws.
 */
export function plan<A extends readonly any[]>(step: (...args: A) => unknown, args: A, options: PlanOptions): Plan {
  return planPartitioned(makePlanned(step, args, options), args, options);
}

/** The partitioned program that {@link plan} looks at. */
export function makePlanned<A extends readonly any[]>(
  step: (...args: A) => unknown,
  args: A,
  options: PlanOptions,
): PartitionedProgram {
  const { mesh, resource, donateArgnums, kernels } = readOptions(options);
  expectFunction("plan", { step });
  expectArray("plan", "arguments", { args });
  const donated = leavesOf(args).flatMap(({ path }, i) =>
    donateArgnums.includes(Number(path.split(".")[0])) ? [i] : [],
  );
  const traced = withMesh(mesh, () =>
    globalShardGuard(resource, () => makeProgram(step as (...args: readonly any[]) => unknown)(...args)),
  );
  const { values, inputs, constants, nodes, outputs } = traced;
  const whole = new Program(values, inputs, constants, nodes, outputs, donated);
  const program = runPasses(whole, (node) => isForMesh(node) || kernels.supports(node));
  return partition(mesh, program, suggestLayouts(mesh, program));
}

/** The plan of a program that is split. `args` are those of the step that it was made from. */
export function planPartitioned(partitioned: PartitionedProgram, args: readonly unknown[], options: PlanOptions): Plan {
  const { mesh, hardware, roleOf, kernels, virtual } = readOptions(options);
  const devices = virtual ? Array.from({ length: mesh.size }, (_, device) => device) : [0];
  const emitted = overlapExchanges(emit(partitioned, devices, virtual ? exchangeInProgram : describeExchange));
  const supports = (node: NodeSpec): true | string => node.op === "exchange" || kernels.supports(node);
  const program = runPasses(runPasses(emitted, supports), supports, kernels.passes ?? []);
  const roles = leavesOf(args).map(({ path }) => roleOf(path));
  // What the step captured comes behind its arguments.
  const usage = usageOf(
    program,
    partitioned.inputs.flatMap((id, i) =>
      partsOn(mesh, partitioned.values[id]!.layout, devices).map(() => roles[i] ?? "inputs"),
    ),
    (program, node) => scratchOf(kernels, program, node),
  );
  const { time, flops, criticalPath, ends } = schedule(usage.program, mesh, hardware);
  const recomputed = flops * recomputedShare(partitioned);
  let second = 0;
  const timeline = usage.live.map((bytes, i): TimelinePoint => {
    second = Math.max(second, ends[i]!);
    return { second, bytes, op: usage.program.nodes[i]!.op.name };
  });
  return {
    mesh,
    hardware,
    memory: usage.memory,
    fits: usage.memory.peak <= hardware.memory,
    flops,
    recomputed,
    traffic: trafficOf(partitioned.collectives(), mesh, hardware),
    time,
    hidden: hiddenShare(time),
    utilization: (flops - recomputed) / (time.step * hardware.flops[2]),
    criticalPath,
    timeline,
  };
}

/** Bytes of scratch of a node: as the device says of its kernels, and none where it says nothing. */
function scratchOf(kernels: Kernels, program: Program, node: ProgramNode): number {
  if (!kernels.scratchBytes) return 0;
  return exchangeOf(node) ? scratchOfExchange(program, node) : kernels.scratchBytes(program.spec(node));
}

/** Which share of a program's operations computes again, for the backward pass, what a checkpoint did not keep. */
function recomputedShare({ steps, values }: PartitionedProgram): number {
  const avals = values.map(({ aval }) => aval);
  let [all, again] = [0, 0];
  for (const step of steps) {
    if (!("node" in step)) continue;
    const flops = flopsOf(avals, { ...step.node, inputs: step.inputs, outputs: step.outputs });
    all += flops;
    if (step.node.recomputed) again += flops;
  }
  return all === 0 ? 0 : again / all;
}

/** The share of communication that does not make the step longer; all of it where there is none. */
export const hiddenShare = ({ communication, exposed }: Time): number =>
  communication === 0 ? 1 : Math.max(0, 1 - exposed / communication);

function trafficOf(collectives: readonly Collective[], mesh: Mesh, hardware: Hardware): Traffic[] {
  const sums = new Map<string, Traffic>();
  for (const { kind, axes, bytes, sent } of collectives) {
    const key = `${kind} ${axes.join(" ")}`;
    const sum = sums.get(key) ?? { kind, axes, link: linkOf(mesh, hardware, axes), count: 0, bytes: 0, sent: 0 };
    sums.set(key, { ...sum, count: sum.count + 1, bytes: sum.bytes + bytes, sent: sum.sent + sent });
  }
  return [...sums.values()];
}

function readOptions(options: PlanOptions) {
  const all = withDefaults("plan", options, {
    mesh: undefined,
    resource: new MeshResource(),
    hardware: "h100-sxm",
    donateArgnums: [] as readonly number[],
    kernels: ALL_KERNELS,
    virtual: false,
    roleOf: roleByName,
  });
  if (!(all.mesh instanceof Mesh))
    fail("option", "plan", "mesh must be a Mesh", all.mesh, "Pass new Mesh({ data: 8 }).");
  return { ...all, mesh: all.mesh, hardware: hardwareOf(all.hardware) };
}
