/** Joins small all-reduces: a message for many gradients instead of one for each. */
import type { Mesh } from "../mesh.js";
import type { MoveStep, SplitValue, Step } from "./partitioned.js";
import { bytesIn } from "./reshard.js";

/** Larger values are sent on their own: joining copies them. */
const SMALL_BYTES = 2 ** 20;

/** A bucket goes off when it holds so much, so that the first of it need not wait for the last gradients. */
const BUCKET_BYTES = 2 ** 22;

/** Results that only the end of the program reads may wait for a bucket, where they are no larger: statistics, scales. */
const LATE_BYTES = 2 ** 12;

interface Bucket {
  readonly steps: MoveStep[];
  bytes: number;
}

/**
 * The same steps, where all-reduces wait for others of their kind until something reads them: those over the same axes, by
 * the same reduction and of the same dtype become one.
 */
export function joinReductions(mesh: Mesh, values: readonly SplitValue[], steps: readonly Step[]): Step[] {
  const joined: Step[] = [];
  const open = new Map<string, Bucket>();
  const bucketOf = new Map<number, string>();
  const late = lateSteps(mesh, values, steps);
  const atEnd: Step[] = [];
  const made = new Set<number>();
  const flush = (key: string): void => {
    const bucket = open.get(key);
    if (!bucket) return;
    open.delete(key);
    joined.push(bucket.steps.length === 1 ? bucket.steps[0]! : { moves: bucket.steps });
  };
  for (const step of steps) {
    const waits = readBy(step).some((id) => made.has(id) || open.has(bucketOf.get(id) ?? ""));
    if (late.has(step) && waits) {
      atEnd.push(step);
      for (const id of madeBy(step)) made.add(id);
      continue;
    }
    for (const id of readBy(step)) {
      const key = bucketOf.get(id);
      if (key !== undefined) flush(key);
    }
    const key = joinKey(mesh, values, step);
    if (key === undefined) {
      joined.push(step);
      continue;
    }
    const { output } = step as MoveStep;
    const bucket = open.get(key) ?? { steps: [], bytes: 0 };
    open.set(key, bucket);
    bucket.steps.push(step as MoveStep);
    bucket.bytes += bytesIn(mesh, values[output]!.layout, values[output]!.aval);
    bucketOf.set(output, key);
    if (bucket.bytes >= BUCKET_BYTES) flush(key);
  }
  for (const key of [...open.keys()]) flush(key);
  return [...joined, ...atEnd];
}

/** Calls with small results that nothing but such calls reads. */
function lateSteps(mesh: Mesh, values: readonly SplitValue[], steps: readonly Step[]): ReadonlySet<Step> {
  const read = new Set<number>();
  const late = new Set<Step>();
  for (const step of [...steps].reverse()) {
    const isSmall = madeBy(step).every((id) => bytesIn(mesh, values[id]!.layout, values[id]!.aval) <= LATE_BYTES);
    if ("node" in step && isSmall && madeBy(step).every((id) => !read.has(id))) late.add(step);
    else for (const id of readBy(step)) read.add(id);
  }
  return late;
}

const madeBy = (step: Step): readonly number[] =>
  "node" in step ? step.outputs : "move" in step ? [step.output] : step.moves.map(({ output }) => output);

function readBy(step: Step): readonly number[] {
  if ("moves" in step) return step.moves.map(({ input }) => input);
  return "move" in step ? [step.input] : step.inputs;
}

/** Equal for steps that can be one; undefined for those that stay alone. */
function joinKey(mesh: Mesh, values: readonly SplitValue[], step: Step): string | undefined {
  if (!("move" in step) || step.move.kind !== "all_reduce") return undefined;
  const { aval, layout } = values[step.output]!;
  if (bytesIn(mesh, layout, aval) > SMALL_BYTES) return undefined;
  return `${step.move.axes.join(" ")} ${step.move.reduction} ${aval.dtype}`;
}
