/**
 * One process with two threads against two processes with one thread each, over meshes; and collectives against a copy of
 * the same bytes and against those of MPI itself.
 */
import { copyBandwidth } from "@te/kernels-cpu";
import type { ResourceField } from "@te/sharding";
import { fail } from "@te/tensor/op";
import { type Ended, runAlone, STARTERS } from "@te/testkit";
import { layerGflop, SHAPE } from "./layer.js";
import { type Machine, machine } from "./machine.js";
import { best, median, round } from "./timing.js";

const PROCESSES = 2;

/** What the one axis of a mesh is for; "one" is a process alone. */
export const MESHES = {
  one: undefined,
  dp: "dpResource",
  tp: "tpResource",
  tpsp: "tpspResource",
  fsdp: "fsdpResource",
} as const satisfies Record<string, ResourceField | undefined>;

export type MeshName = keyof typeof MESHES;

export const DTYPES = ["float32", "bfloat16"] as const;

const KINDS = ["all_reduce", "all_gather", "reduce_scatter", "all_to_all"] as const;
export type CollectiveKind = (typeof KINDS)[number];

/** Collectives to time: bytes of the larger of what a process gives and gets. */
export const MESSAGES: readonly { readonly kind: CollectiveKind; readonly bytes: number }[] = KINDS.flatMap((kind) =>
  [2 ** 16, 2 ** 20, 2 ** 26].map((bytes) => ({ kind, bytes })),
);

/** Milliseconds of a train step, of the first, which compiles, and of splitting its program over the mesh. */
export interface StepSample {
  readonly axis: MeshName;
  readonly dtype: (typeof DTYPES)[number];
  readonly partitionMs: number;
  readonly firstMs: number;
  readonly bestMs: number;
  readonly medianMs: number;
  /** Time in exchanges, waiting for the other included, and the share of it in which kernels ran meanwhile. */
  readonly exchangeMs: number;
  readonly hidden: number;
}

export interface CollectiveSample {
  readonly kind: CollectiveKind;
  readonly bytes: number;
  readonly seconds: number;
  readonly mpiSeconds: number;
}

/** What the processes of one start measured. */
export interface ProcessReport {
  /** How many processes. */
  readonly mesh: number;
  readonly steps: readonly StepSample[];
  readonly collectives: readonly CollectiveSample[];
}

export interface MeshRow {
  readonly mesh: MeshName;
  readonly dtype: StepSample["dtype"];
  /** The best step, and the first, which compiles; of that, splitting the program over the mesh. */
  readonly ms: number;
  readonly partitionMs: number;
  readonly firstMs: number;
  /** The time of one process with as many threads divided by it: best by best, and the median over the rounds. */
  readonly share: number;
  readonly medianShare: number;
  /** Time of a step in exchanges, and the share of it in which kernels ran: medians over the rounds. */
  readonly exchangeMs: number;
  readonly hidden: number;
}

export interface CollectiveRow {
  readonly kind: CollectiveKind;
  readonly bytes: number;
  /** GB/s of `bytes`. */
  readonly gbps: number;
  /** Against MPI's own in the same rounds, and against a copy of as many bytes by one thread of this process alone. */
  readonly shareOfMpi: number;
  readonly shareOfCopy: number;
}

export interface MeshReport {
  readonly machine: Machine;
  readonly mpi: string;
  readonly shape: typeof SHAPE;
  readonly gflop: number;
  readonly rows: readonly MeshRow[];
  readonly collectives: readonly CollectiveRow[];
}

const FILE = new URL("./mesh-process.ts", import.meta.url).pathname;

function reportIn({ code, output }: Ended): ProcessReport {
  const line = output.split("\n").find((text) => text.startsWith('{"mesh"'));
  if (code !== 0 || !line) fail("backend", "bench mesh", `processes ended with status ${code}`, output.slice(-2000));
  return JSON.parse(line) as ProcessReport;
}

/**
 * Times whole starts in turns, so that a busy minute of the machine meets all of them. `quick`: one step of each kind, to see
 * that all of it runs.
 */
export async function benchMesh({ rounds = 5, quick = false, log = (_: string) => {} } = {}): Promise<MeshReport> {
  const starter = STARTERS.find(({ missing }) => !missing);
  if (!starter) fail("backend", "bench mesh", STARTERS[0]!.missing!, undefined, "Install Open MPI or MPICH.");
  const meshes = (Object.keys(MESHES) as MeshName[]).filter((name) => name !== "one");
  const found: { one: ProcessReport; many: ProcessReport }[] = [];
  const options = quick ? ["--quick"] : [];
  for (let i = 0; i < rounds; i++) {
    const one = reportIn(await runAlone(FILE, ["one", ...options], { TE_NUM_THREADS: String(PROCESSES) }));
    const many = reportIn(await starter.run(PROCESSES, FILE, [...meshes, ...options], { TE_NUM_THREADS: "1" }));
    found.push({ one, many });
    log(`round ${i + 1} of ${rounds}`);
  }
  return {
    machine: machine(),
    mpi: starter.name,
    shape: SHAPE,
    gflop: round(layerGflop(SHAPE), 4),
    rows: DTYPES.flatMap((dtype) => (["one", ...meshes] as MeshName[]).map((axis) => meshRow(axis, dtype, found))),
    collectives: MESSAGES.map(({ kind, bytes }) =>
      collectiveRow(
        kind,
        bytes,
        found.map(({ many }) => many),
      ),
    ),
  };
}

function meshRow(
  axis: MeshName,
  dtype: StepSample["dtype"],
  found: readonly { one: ProcessReport; many: ProcessReport }[],
): MeshRow {
  const of = (report: ProcessReport, name: MeshName): StepSample =>
    report.steps.find((step) => step.axis === name && step.dtype === dtype)!;
  const pairs = found.map(({ one, many }) => ({ one: of(one, "one"), many: of(axis === "one" ? one : many, axis) }));
  const ms = best(pairs.map(({ many }) => many.bestMs));
  return {
    mesh: axis,
    dtype,
    ms: round(ms, 4),
    partitionMs: round(best(pairs.map(({ many }) => many.partitionMs))),
    firstMs: round(best(pairs.map(({ many }) => many.firstMs)), 4),
    share: round(best(pairs.map(({ one }) => one.bestMs)) / ms),
    medianShare: round(median(pairs.map(({ one, many }) => one.medianMs / many.medianMs))),
    exchangeMs: round(median(pairs.map(({ many }) => many.exchangeMs))),
    hidden: round(median(pairs.map(({ many }) => many.hidden))),
  };
}

function collectiveRow(kind: CollectiveKind, bytes: number, found: readonly ProcessReport[]): CollectiveRow {
  const samples = found.map(({ collectives }) => collectives.find((c) => c.kind === kind && c.bytes === bytes)!);
  const seconds = best(samples.map((sample) => sample.seconds));
  const gbps = bytes / seconds / 1e9;
  // A copy moves each byte twice.
  const copied = copyBandwidth(0.1, 2 * bytes) / 2;
  return {
    kind,
    bytes,
    gbps: round(gbps),
    shareOfMpi: round(best(samples.map((sample) => sample.mpiSeconds)) / seconds),
    shareOfCopy: round(gbps / copied),
  };
}
