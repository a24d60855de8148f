/**
 * Plans of models with many equal layers. A program of 126 layers takes half a minute to split; layers in the middle of a model
 * are split alike, so that every cost is linear in their number: two small models tell it.
 */
import type { Mesh, MeshResource } from "@te/sharding";
import { expectObject } from "@te/tensor/op";
import { expectModel, expectTraining } from "./check.js";
import type { Hardware } from "./hardware.js";
import { type ModelSize, type Training, trainingStep } from "./models.js";
import { hiddenShare, makePlanned, type Plan, planPartitioned, type TimelinePoint, type Traffic } from "./plan.js";

/** Layers of the models that are planned whole. The first and the last layer differ from the others. */
const SMALL = 2;
const LARGE = 4;

/** Options of {@link planModel}. */
export interface ModelPlanOptions extends Training {
  readonly mesh: Mesh;
  readonly resource: MeshResource;
  readonly hardware: string | Hardware;
}

/** The plan of a train step of a model. Models of more than four layers are planned by how two and four of them compare. */
export function planModel(size: ModelSize, options: ModelPlanOptions): Plan {
  expectModel("planModel", size);
  expectObject("planModel", { options });
  const { mesh, resource, hardware, ...training } = options;
  expectTraining("planModel", training);
  const planned = (layers: number): Plan => {
    const { step, args } = trainingStep({ ...size, layers }, training);
    const planOptions = { mesh, resource, hardware, donateArgnums: [0] };
    return planPartitioned(makePlanned(step, args, planOptions), args, planOptions);
  };
  if (size.layers <= LARGE) return planned(size.layers);
  return extend(planned(SMALL), planned(LARGE), size.layers);
}

/** The plan for `layers` on the line through the plans for SMALL and LARGE. */
function extend(small: Plan, large: Plan, layers: number): Plan {
  const share = (layers - SMALL) / (LARGE - SMALL);
  const line = (a: number, b: number): number => Math.max(0, a + (b - a) * share);
  const lines = <T extends { readonly [K in keyof T]: number }>(a: T, b: T): T =>
    Object.fromEntries(Object.keys(b).map((key) => [key, line(a[key as keyof T] ?? 0, b[key as keyof T])])) as T;
  const timeline = extendTimeline(small, large, line);
  const [parameters, optimizer, inputs, results, workspace] = (
    ["parameters", "optimizer", "inputs", "results", "workspace"] as const
  ).map((key) => line(small.memory[key], large.memory[key])) as [number, number, number, number, number];
  const most = Math.max(...timeline.map(({ bytes }) => bytes));
  const exchanged = Math.min(line(small.memory.exchanged, large.memory.exchanged), most);
  const activations = Math.max(0, most - parameters - optimizer - inputs - results - exchanged);
  const time = lines(small.time, large.time);
  const flops = line(small.flops, large.flops);
  const recomputed = line(small.recomputed, large.recomputed);
  const peak = most + workspace;
  return {
    ...large,
    memory: { parameters, optimizer, inputs, results, activations, exchanged, workspace, peak },
    fits: peak <= large.hardware.memory,
    flops,
    recomputed,
    traffic: extendTraffic(small.traffic, large.traffic, line),
    time,
    hidden: hiddenShare(time),
    utilization: (flops - recomputed) / (time.step * large.hardware.flops[2]),
    criticalPath: lines(small.criticalPath, large.criticalPath),
    timeline,
  };
}

type Line = (small: number, large: number) => number;

function extendTraffic(small: readonly Traffic[], large: readonly Traffic[], line: Line): Traffic[] {
  return large.map((of) => {
    const like = small.find(({ kind, axes }) => kind === of.kind && String(axes) === String(of.axes));
    const extended = (key: "count" | "bytes" | "sent"): number => line(like?.[key] ?? 0, of[key]);
    return { ...of, count: extended("count"), bytes: extended("bytes"), sent: extended("sent") };
  });
}

/**
 * Memory is a broken line over a step: it grows in the forward pass, falls or grows in the backward pass, as gradients take the
 * place of activations, and is level in the update. Its corners are linear in the number of layers.
 */
function extendTimeline(small: Plan, large: Plan, line: Line): TimelinePoint[] {
  const [a, b] = [cornersOf(small.timeline), cornersOf(large.timeline)];
  return b.map(({ second, bytes }, i) => ({ second: line(a[i]!.second, second), bytes: line(a[i]!.bytes, bytes) }));
}

/** Where the backward pass begins. A loss whose classes are split is made of simpler ops, of which no others of a step are. */
const LOSS: readonly string[] = ["cross_entropy_backward", "take_along_axis"];

/** Start, most and end of four stretches: forward pass, most of the backward pass, its end, where gradients gather, update. */
function cornersOf(timeline: readonly TimelinePoint[]): TimelinePoint[] {
  const backward = timeline.findIndex(({ op }) => op !== undefined && LOSS.includes(op));
  const update = timeline.findIndex(({ op }) => op === "adamw_update");
  const middle = Math.floor(backward + 0.8 * (update - backward));
  const stretches = [
    [0, backward],
    [backward, middle],
    [middle, update],
    [update, timeline.length],
  ] as const;
  return stretches.flatMap(([from, to], i) => {
    const points = timeline.slice(from, to);
    const most = Math.max(...points.map(({ bytes }) => bytes));
    const [first, last] = [points[0]!, points.at(-1)!];
    // Most is alive where the forward and the backward pass meet, and where the backward pass ends.
    return i % 2 === 0 ? [first, { ...last, bytes: most }] : [{ ...first, bytes: most }, last];
  });
}
