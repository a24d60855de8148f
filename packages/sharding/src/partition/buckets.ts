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
  readonly key: string;
  readonly steps: MoveStep[];
  bytes: number;
}

/**
 * The same steps, where all-reduces wait for others of their kind until something reads them: those over the same axes, by
 * the same reduction and of the same dtype become one. Those further on whose inputs are there already go with them.
 */
export function joinReductions(mesh: Mesh, values: readonly SplitValue[], steps: readonly Step[]): Step[] {
  return new Joiner(mesh, values, steps).run();
}

class Joiner {
  private readonly joined: Step[] = [];
  private readonly open = new Map<string, Bucket>();
  private readonly bucketOf = new Map<number, Bucket>();
  private readonly late: ReadonlySet<Step>;
  private readonly atEnd: Step[] = [];
  /** Values that steps at the end make. */
  private readonly lateValues = new Set<number>();
  /** Values that steps make which are still to come. */
  private readonly missing: Set<number>;
  /** Steps still to come that may be joined, by key. */
  private readonly coming = new Map<string, MoveStep[]>();
  private readonly taken = new Set<Step>();

  constructor(
    private readonly mesh: Mesh,
    private readonly values: readonly SplitValue[],
    private readonly steps: readonly Step[],
  ) {
    this.late = lateSteps(mesh, values, steps);
    this.missing = new Set(steps.flatMap(madeBy));
    for (const step of steps) {
      const key = joinKey(mesh, values, step);
      if (key === undefined) continue;
      const others = this.coming.get(key);
      if (others) others.push(step as MoveStep);
      else this.coming.set(key, [step as MoveStep]);
    }
  }

  run(): Step[] {
    for (const step of this.steps) {
      if (this.taken.has(step)) continue;
      for (const id of madeBy(step)) this.missing.delete(id);
      const waits = readBy(step).some((id) => this.lateValues.has(id) || this.isOpen(id));
      if (this.late.has(step) && waits) {
        this.atEnd.push(step);
        for (const id of madeBy(step)) this.lateValues.add(id);
        continue;
      }
      for (const id of readBy(step)) if (this.isOpen(id)) this.flush(this.bucketOf.get(id)!);
      const key = joinKey(this.mesh, this.values, step);
      if (key === undefined) this.joined.push(step);
      else this.put(key, step as MoveStep);
    }
    for (const bucket of [...this.open.values()]) this.close(bucket);
    return [...this.joined, ...this.atEnd];
  }

  private isOpen(id: number): boolean {
    const bucket = this.bucketOf.get(id);
    return bucket !== undefined && this.open.get(bucket.key) === bucket;
  }

  private put(key: string, step: MoveStep): void {
    const bucket = this.open.get(key) ?? { key, steps: [], bytes: 0 };
    this.open.set(key, bucket);
    bucket.steps.push(step);
    bucket.bytes += this.bytesOf(step);
    this.bucketOf.set(step.output, bucket);
    this.taken.add(step);
    if (bucket.bytes >= BUCKET_BYTES) this.close(bucket);
  }

  private bytesOf({ output }: MoveStep): number {
    return bytesIn(this.mesh, this.values[output]!.layout, this.values[output]!.aval);
  }

  private close(bucket: Bucket): void {
    this.open.delete(bucket.key);
    this.joined.push(bucket.steps.length === 1 ? bucket.steps[0]! : { moves: bucket.steps });
  }

  /** Sends a bucket because something reads it, with what else is ready. */
  private flush(bucket: Bucket): void {
    const later = this.coming.get(bucket.key)!.filter((step) => !this.taken.has(step));
    this.coming.set(bucket.key, later);
    for (const step of later) {
      const isReady = !this.missing.has(step.input) && !this.lateValues.has(step.input) && !this.isOpen(step.input);
      if (!isReady || this.open.get(bucket.key) !== bucket) continue;
      this.missing.delete(step.output);
      this.put(bucket.key, step);
    }
    if (this.open.get(bucket.key) === bucket) this.close(bucket);
  }
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

/** Numbers of the values that a step makes. */
export const madeBy = (step: Step): readonly number[] =>
  "node" in step ? step.outputs : "move" in step ? [step.output] : step.moves.map(({ output }) => output);

/** Numbers of the values that a step reads; -1 for an optional input left out. */
export function readBy(step: Step): readonly number[] {
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
