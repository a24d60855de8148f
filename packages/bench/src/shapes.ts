/** Where speed could break down: wide rows, odd sizes, long sequences, one thread, and a processor that is shared. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpuInfo, setThreads } from "@te/kernels-cpu";
import { layerNormOp, rmsNormOp } from "@te/layers";
import { type DType, dot, jit, makeProgram, ones, random, softmax, type Tensor, zeros } from "@te/tensor";
import { byteSize, type Program } from "@te/tensor/backend";
import { attentionBackwardOp, attentionOp } from "@te/transformer";
import { DTYPES, SHAPE, type Shape, subject } from "./layer.js";
import { type Machine, machine } from "./machine.js";
import { arenaOf } from "./step.js";
import { best, disposeAll, round, timeOnce } from "./timing.js";

export interface ShapeRow {
  readonly group: "wide rows" | "odd sizes" | "long sequences" | "threads" | "busy processor";
  readonly case: string;
  readonly dtype: string;
  readonly ms: number;
  /** What it is held against, and that one's time. */
  readonly against: string;
  readonly againstMs: number;
  /**
   * 1: as fast as the other for the work there is; less is slower. For threads and busy processors: the speed as a share of
   * the other's, to be held against `fair`.
   */
  readonly share: number;
  /** The share of the processors that is left. */
  readonly fair?: number;
  /** Operands, results and arena of the case, divided by that of the other. */
  readonly memoryTimes?: number;
}

export interface ShapesReport {
  readonly machine: Machine;
  readonly rows: readonly ShapeRow[];
}

/** Sizes; small ones try the bench. */
export interface ShapeSizes {
  readonly elements: number;
  readonly product: number;
  /** Each four times the one before, and how far a window reaches. */
  readonly sequences: readonly number[];
  readonly window: number;
  readonly layer: Shape;
  readonly rounds: number;
}

const SIZES: ShapeSizes = {
  elements: 2 ** 22,
  product: 1024,
  sequences: [2048, 8192, 32768],
  window: 512,
  layer: SHAPE,
  rounds: 5,
};

const FLOATS = ["float32", "bfloat16"] as const satisfies readonly DType[];
const draw = (shape: readonly number[], dtype: DType): Tensor => random.normal(random.key(1), shape, { dtype });

export async function benchShapes({
  sizes = SIZES,
  log = (_: string) => {},
}: {
  sizes?: ShapeSizes;
  log?: (line: string) => void;
} = {}): Promise<ShapesReport> {
  const rows: ShapeRow[] = [];
  const add = (found: readonly ShapeRow[]): void => {
    for (const row of found)
      log(`${row.group}: ${row.case}, ${row.dtype}: ${row.ms} ms, ${row.share} of ${row.against}`);
    rows.push(...found);
  };
  for (const dtype of FLOATS) {
    add(await wideRows(dtype, sizes));
    add(await oddSizes(dtype, sizes));
    add(await longSequences(dtype, sizes));
  }
  for (const dtype of DTYPES) add(await processors(dtype, sizes));
  return { machine: machine(), rows };
}

/** The best of several calls in milliseconds, after one that compiles. */
async function milliseconds(call: () => unknown, rounds: number): Promise<number> {
  await timeOnce(call);
  const samples: number[] = [];
  for (let i = 0; i < rounds; i++) samples.push(await timeOnce(call));
  return best(samples);
}

interface Timed {
  readonly name: string;
  readonly ms: number;
  /** What `ms` is proportional to. */
  readonly work: number;
}

const rowOf = (group: ShapeRow["group"], dtype: string, of: Timed, against: Timed): ShapeRow => ({
  group,
  case: of.name,
  dtype,
  ms: round(of.ms, 4),
  against: against.name,
  againstMs: round(against.ms, 4),
  share: round(against.ms / against.work / (of.ms / of.work)),
});

/** Ops along rows: four rows of a quarter of the elements each against rows of 1024. */
async function wideRows(dtype: DType, { elements, rounds }: ShapeSizes): Promise<ShapeRow[]> {
  const norms = (columns: number): [gamma: Tensor, beta: Tensor] => [ones([columns]), zeros([columns])];
  const ops: Record<string, (x: Tensor) => Tensor> = {
    softmax: (x) => softmax(x),
    "layer norm": (x) => {
      const [gamma, beta] = norms(x.shape[1]!);
      return layerNormOp({ x, gamma, beta }, { epsilon: 1e-6 }).y;
    },
    "RMS norm": (x) => rmsNormOp({ x, gamma: norms(x.shape[1]!)[0] }, { epsilon: 1e-6 }).y,
    sum: (x) => x.sum(-1),
    argmax: (x) => x.argmax(-1),
  };
  const rows: ShapeRow[] = [];
  for (const [op, f] of Object.entries(ops)) {
    const of = async (columns: number): Promise<Timed> => {
      const shape = [elements / columns, columns];
      const x = draw(shape, dtype);
      const compiled = jit(f);
      const ms = await milliseconds(() => compiled(x), rounds);
      x.dispose();
      return { name: `${op} of [${shape}]`, ms, work: elements };
    };
    rows.push(rowOf("wide rows", dtype, await of(elements / 4), await of(1024)));
  }
  return rows;
}

/** Products of sizes that no register or block divides, against round ones. */
async function oddSizes(dtype: DType, { product: n, rounds }: ShapeSizes): Promise<ShapeRow[]> {
  const of = async (m: number, k: number, n: number): Promise<Timed> => {
    const operands = [draw([m, k], dtype), draw([k, n], dtype)] as const;
    const compiled = jit((a: Tensor, b: Tensor) => dot(a, b, { lhsContract: [1], rhsContract: [0], dtype }));
    const ms = await milliseconds(() => compiled(...operands), rounds);
    disposeAll(operands);
    return { name: `[${m}, ${k}] · [${k}, ${n}]`, ms, work: m * k * n };
  };
  const even = await of(n, n, n);
  const odd = [await of(n - 1, n + 1, n - 3), await of(n + 1, n - 1, n + 3), await of(n, n - 1, n)];
  return odd.map((timed) => rowOf("odd sizes", dtype, timed, even));
}

/** Attention of one sequence, forward and backward: the work of a whole row of keys grows as the square, that of a window linearly. */
async function longSequences(dtype: DType, { sequences, window, rounds }: ShapeSizes): Promise<ShapeRow[]> {
  const [heads, depth] = [2, 64];
  const rows: ShapeRow[] = [];
  for (const windowed of [false, true]) {
    const params = { scale: depth ** -0.5, causal: true, ...(windowed && { windowLeft: window }) };
    const both = (q: Tensor, k: Tensor, v: Tensor, dout: Tensor) => {
      const { out, max, sum } = attentionOp({ q, k, v }, params);
      return attentionBackwardOp({ q, k, v, out, max, sum, dout }, params);
    };
    const compiled = jit(both);
    let before: (Timed & { bytes: number }) | undefined;
    for (const sequence of sequences) {
      const inputs = [0, 1, 2, 3].map(() => draw([1, sequence, heads, depth], dtype)) as [
        Tensor,
        Tensor,
        Tensor,
        Tensor,
      ];
      const ms = await milliseconds(
        () => compiled(...inputs),
        sequence * (windowed ? window : sequence) > 2 ** 28 ? 1 : rounds,
      );
      const now = {
        name: `1 × ${sequence} causal${windowed ? `, window ${window}` : ""}`,
        ms,
        work: windowed ? sequence : sequence ** 2,
        bytes: bytesOf(makeProgram(both)(...inputs)),
      };
      disposeAll(inputs);
      if (before)
        rows.push({ ...rowOf("long sequences", dtype, now, before), memoryTimes: round(now.bytes / before.bytes) });
      before = now;
    }
  }
  return rows;
}

/** Of a program's operands and results, and of what it keeps in between. */
function bytesOf(program: Program): number {
  const held = [...program.inputs, ...program.outputs].map((id) => byteSize(program.values[id]!));
  return held.reduce((sum, bytes) => sum + bytes, arenaOf(program));
}

/** The layer with one thread, and with all beside a process that keeps one processor busy. */
async function processors(dtype: (typeof DTYPES)[number], { layer, rounds }: ShapeSizes): Promise<ShapeRow[]> {
  const info = cpuInfo();
  const threads = info.available ? info.threads : 1;
  const of = async (name: string, count: number): Promise<Timed> => {
    setThreads(count); // of programs compiled from now on
    const { forwardBackward } = subject(dtype, layer);
    const ms = await milliseconds(forwardBackward, rounds);
    setThreads(threads);
    return { name, ms, work: 1 };
  };
  const all = await of(`${threads} threads`, threads);
  const one = await of("1 thread", 1);
  const busy = await besideBusy(() => of(`${threads} threads beside a busy process`, threads));
  return [
    { ...rowOf("threads", dtype, one, all), fair: round(1 / threads) },
    // The busy process takes half of one processor, as the system shares it.
    { ...rowOf("busy processor", dtype, busy, all), fair: round((threads - 0.5) / threads) },
  ];
}

/** Runs while another process computes. */
async function besideBusy<T>(body: () => Promise<T>): Promise<T> {
  const child = spawn(process.execPath, ["-e", "console.log(); for (;;);"], { stdio: ["ignore", "pipe", "ignore"] });
  try {
    await once(child.stdout, "data");
    return await body();
  } finally {
    child.kill("SIGKILL");
  }
}
