/** When nodes of a program run: products on one stream, collectives on one for each link, and what waits for what. */
import type { Mesh } from "@te/sharding";
import { sentBytes } from "@te/sharding/partition";
import { byteSize, type Program, type ProgramNode } from "@te/tensor/backend";
import { exchangeOf, linkOf, secondsOf } from "./exchange.js";
import { costOf } from "./flops.js";
import type { Hardware, Link } from "./hardware.js";

/** How long a train step takes at the roofline. */
export interface Time {
  /** Seconds of a step. */
  readonly step: number;
  /** Seconds in which the device computes, and in which its links are busy. */
  readonly compute: number;
  readonly communication: number;
  /** Seconds of the step in which it computes nothing and waits for a collective. */
  readonly exposed: number;
}

/** What the step waited for, in seconds: by op and, for collectives, by kind and axes. */
export type CriticalPath = Readonly<Record<string, number>>;

export interface Schedule {
  readonly time: Time;
  readonly flops: number;
  readonly criticalPath: CriticalPath;
  /** When each node ends, in the order of the program. */
  readonly ends: readonly number[];
}

/** Weights are cast and gathered so many nodes ahead of their place at most: memory for more is not there. */
const AHEAD = 24;

/** What may come before a gather of weights without being work of the step's own. */
const PREPARES: ReadonlySet<string> = new Set([
  ...["cast", "barrier", "elementwise", "exchange", "quantize", "reshape", "transpose"],
]);

interface Task {
  readonly node: ProgramNode;
  readonly label: string;
  /** One thing at a time is done on each. */
  readonly stream: "compute" | Link;
  readonly isExchange: boolean;
  readonly seconds: number;
  /** The place in the order of issue: that of its last input, for what is computed that of the node, for weights earlier. */
  readonly at: number;
}

/** Runs a program on paper. `given` values are there from the start. */
export function schedule(program: Program, mesh: Mesh, hardware: Hardware): Schedule {
  const makers = new Map<number, number>();
  const early = new Set(program.given);
  let flops = 0;
  const tasks = program.nodes.map((node, i): Task => {
    const ready = Math.max(-1, ...node.inputs.map((id) => makers.get(id) ?? -1));
    for (const id of node.outputs) makers.set(id, i);
    const isEarly = PREPARES.has(node.op.name) && node.inputs.every((id) => early.has(id));
    if (isEarly) for (const id of node.outputs) early.add(id);
    const exchange = exchangeOf(node);
    if (!exchange) {
      const cost = costOf(program, node, hardware);
      flops += cost.flops;
      const at = isEarly && hardware.overlaps !== false ? i - AHEAD : i;
      return { node, label: node.op.name, stream: "compute", isExchange: false, seconds: cost.seconds, at };
    }
    const { kind, axes, devices } = exchange;
    const link = linkOf(mesh, hardware, axes);
    const seconds = secondsOf(sentBy(program, node), devices, link, hardware);
    const label = `${kind} over ${axes.join(" ")}`;
    if (hardware.overlaps === false) return { node, label, stream: "compute", isExchange: true, seconds, at: i };
    return { node, label, stream: link, isExchange: true, seconds, at: isEarly ? i - AHEAD : ready };
  });
  // A collective is issued right behind what it waits for; what is computed keeps its order.
  const order = tasks.map((_, i) => i).sort((a, b) => tasks[a]!.at - tasks[b]!.at || a - b);
  return { ...run(tasks, order), flops };
}

function run(tasks: readonly Task[], order: readonly number[]): Omit<Schedule, "flops"> {
  const free: Record<Task["stream"], { until: number; last: number }> = {
    compute: { until: 0, last: -1 },
    machine: { until: 0, last: -1 },
    network: { until: 0, last: -1 },
  };
  const made = new Map<number, number>();
  const ends = new Array<number>(tasks.length).fill(0);
  const before = new Array<number>(tasks.length).fill(-1);
  let [compute, communication] = [0, 0];
  for (const i of order) {
    const { node, stream, isExchange, seconds } = tasks[i]!;
    let [start, cause] = [free[stream].until, free[stream].last];
    for (const id of node.inputs) {
      const maker = made.get(id);
      if (maker !== undefined && ends[maker]! > start) [start, cause] = [ends[maker]!, maker];
    }
    ends[i] = start + seconds;
    before[i] = cause;
    free[stream] = { until: ends[i]!, last: i };
    for (const id of node.outputs) made.set(id, i);
    if (isExchange) communication += seconds;
    else compute += seconds;
  }
  const step = Math.max(0, ...Object.values(free).map(({ until }) => until));
  const criticalPath: Record<string, number> = {};
  for (let i = ends.indexOf(step); i >= 0; i = before[i]!) {
    const { label, seconds } = tasks[i]!;
    criticalPath[label] = (criticalPath[label] ?? 0) + seconds;
  }
  return { time: { step, compute, communication, exposed: step - compute }, criticalPath, ends };
}

/** Bytes that a device sends in a collective, by the best known algorithm. */
function sentBy({ values }: Program, node: ProgramNode): number {
  const { kind, devices } = exchangeOf(node)!;
  const larger = Math.max(byteSize(values[node.inputs[0]!]!), byteSize(values[node.outputs[0]!]!));
  return sentBytes(kind, larger, devices);
}
