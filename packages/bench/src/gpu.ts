/** The GPU's kernels and steps: judged, timed, and held against a copy and the best product of the same run. */
import "@te/kernels-cpu";
import { type CudaReplays, cudaReplays } from "@te/kernels-cuda";
import { currentBackend, jit, makeProgram, setDevice, type Tensor } from "@te/tensor";
import { byteSize, type Program } from "@te/tensor/backend";
import { type Card, cardOf, commit } from "./gpu-card.js";
import { type GpuCase, gpuCases, SIZES, SMALL_SIZES } from "./gpu-cases.js";
import { judge } from "./gpu-judge.js";
import { type Estimate, estimates, H100 } from "./gpu-plan.js";
import {
  layerFlops,
  MODEL_PRECISIONS,
  SMALL_STEP_SIZES,
  STEP_SIZES,
  type StepSizes,
  shapeOfLayer,
  shapeOfModel,
  stepFlops,
  timeLayer,
  timeTrainStep,
} from "./gpu-steps.js";
import { PACE, type Pace, QUICK, type Times, timeCalls } from "./gpu-timing.js";
import { subject } from "./layer.js";
import { disposeAll, round } from "./timing.js";

const NOT_MEASURED = "not measured";

/** One thing that was timed, or is to be. */
export interface GpuRow {
  readonly group: string;
  readonly name: string;
  readonly shape: string;
  readonly dtype: string;
  /** Of one call: the median over batches of calls, the least and the most. */
  readonly ms: number | typeof NOT_MEASURED;
  readonly least?: number;
  readonly most?: number;
  /** Of the calling thread, per call, while the device has other calls to go on with; and its share of `ms`. */
  readonly hostMs?: number;
  readonly hostShare?: number;
  readonly tflops?: number;
  /** Of the best product of this run in the same dtype. */
  readonly productShare?: number;
  /** Operands and results, each counted once. */
  readonly gbps?: number;
  /** Of the best copy of this run. */
  readonly copyShare?: number;
  readonly tokensPerSecond?: number;
  /** Parts of programs that ran as a graph and kernel by kernel while a step was judged and timed. */
  readonly replays?: CudaReplays;
  /** Ops that have no kernel on the device, where there are any: the time is that of what stands for them. */
  readonly withoutKernel?: readonly string[];
  /** Why it was not measured. */
  readonly why?: string;
}

export interface GpuReport {
  readonly card: Card | typeof NOT_MEASURED;
  /** Best of this run, read plus written. */
  readonly copyGbps: number | typeof NOT_MEASURED;
  readonly productTflops: Readonly<Record<"bfloat16" | "float8", number | typeof NOT_MEASURED>>;
  readonly rows: readonly GpuRow[];
}

export interface GpuOptions {
  readonly device?: string;
  /** Sizes that an emulator can compute. */
  readonly small?: boolean;
  /** After so many seconds the rest is not measured. */
  readonly seconds?: number;
  readonly log?: (line: string) => void;
  /** Gets the report after each row: a run that is cut off has measured what came before. */
  readonly save?: (report: GpuReport) => void;
}

/** Everything that is timed, in the order of its importance: what comes late is lost where time runs out. */
export async function benchGpu({
  device = "cuda",
  small = false,
  seconds = Number.POSITIVE_INFINITY,
  log = () => {},
  save = () => {},
}: GpuOptions = {}): Promise<GpuReport> {
  setDevice(device);
  const card = cardOf(device);
  const bench = new Bench(small ? QUICK : PACE, seconds, log, (rows) => save(reportOf(card, rows)));
  const cases = gpuCases(small ? SMALL_SIZES : SIZES);
  const sizes = small ? SMALL_STEP_SIZES : STEP_SIZES;
  const timed = (...groups: GpuCase["group"][]) => cases.filter(({ group }) => groups.includes(group));
  for (const one of timed("copies", "products", "attention")) await bench.case(one);
  await bench.steps(sizes);
  for (const one of timed("memory", "small")) await bench.case(one);
  return reportOf(card, bench.rows);
}

/** What would be timed, as rows that say so, and estimates in their own place. */
export function planGpu({ small = false }: { small?: boolean } = {}): {
  readonly note: string;
  readonly commit: string;
  readonly figures: typeof H100;
  readonly estimates: readonly Estimate[];
} {
  const [sizes, steps] = small ? [SMALL_SIZES, SMALL_STEP_SIZES] : [SIZES, STEP_SIZES];
  const note = "Estimates of bytes and operations at an H100's full speed; nothing here was measured.";
  return { note, commit: commit(), figures: H100, estimates: estimates(gpuCases(sizes), steps, MODEL_PRECISIONS) };
}

type Raw = Omit<GpuRow, "productShare" | "copyShare"> & { readonly bytes?: number };

class Bench {
  readonly rows: Raw[] = [];
  private readonly end: number;

  constructor(
    private readonly pace: Pace,
    seconds: number,
    private readonly log: (line: string) => void,
    private readonly save: (rows: readonly Raw[]) => void,
  ) {
    this.end = performance.now() + 1000 * seconds;
  }

  /** Adds a row; what fails or comes too late is a row too. */
  private async add(of: Pick<GpuRow, "group" | "name" | "shape" | "dtype">, time: () => Promise<Partial<Raw>>) {
    let found: Partial<Raw>;
    try {
      found = performance.now() < this.end ? await time() : { why: "the time was over" };
    } catch (error) {
      found = { why: error instanceof Error ? error.message : String(error) };
    }
    const row: Raw = { ...of, ms: NOT_MEASURED, ...found };
    this.rows.push(row);
    this.log(`${of.group}: ${of.name}, ${of.dtype}, ${of.shape}: ${row.why ?? `${row.ms} ms`}`);
    this.save(this.rows);
  }

  async case(one: GpuCase): Promise<void> {
    const { group, name, shape, dtype, flops } = one;
    await this.add({ group, name, shape, dtype }, async () => {
      const inputs = one.inputs();
      try {
        const compiled = jit(one.f as (...inputs: Tensor[]) => Tensor);
        await judge({ ...one, f: compiled }, inputs);
        const times = await timeCalls(() => compiled(...inputs), this.pace);
        const moved = group === "copies" || group === "memory" ? bytesOf(inputs, compiled(...inputs)) : undefined;
        return {
          ...timesOf(times),
          ...(flops && speedOf(flops, times)),
          ...(moved && trafficOf(moved, times)),
          ...withoutKernel(makeProgram(one.f as (...inputs: Tensor[]) => Tensor)(...inputs)),
        };
      } finally {
        disposeAll(inputs);
      }
    });
  }

  async steps(sizes: StepSizes): Promise<void> {
    const shape = shapeOfLayer(sizes.layer);
    for (const dtype of ["bfloat16", "fp8"] as const)
      await this.add({ group: "layer", name: "forward and backward", shape, dtype }, async () => {
        const layer = subject(dtype, sizes.layer);
        const [times, replays] = await replaysOf(() => timeLayer(dtype, layer, this.pace));
        return {
          ...timesOf(times),
          replays,
          ...speedOf(layerFlops(sizes.layer), times),
          ...withoutKernel(layer.program()),
        };
      });
    const { model, batch } = sizes;
    for (const precision of MODEL_PRECISIONS)
      await this.add(
        { group: "train step", name: "GPT-2 124M's size", shape: shapeOfModel(model, batch), dtype: precision.name },
        async () => {
          const [times, replays] = await replaysOf(() => timeTrainStep(sizes, precision, this.pace));
          const tokensPerSecond = Math.round((batch * model.sequence * 1000) / times.ms);
          return { ...timesOf(times), replays, ...speedOf(stepFlops(model, batch), times), tokensPerSecond };
        },
      );
  }
}

async function replaysOf<T>(body: () => Promise<T>): Promise<[result: T, replays: CudaReplays]> {
  const before = cudaReplays();
  const result = await body();
  const { replayed, executed } = cudaReplays();
  return [result, { replayed: replayed - before.replayed, executed: executed - before.executed }];
}

const timesOf = ({ ms, least, most, hostMs }: Times) => ({
  ms: round(ms, 4),
  least: round(least, 4),
  most: round(most, 4),
  hostMs: round(hostMs),
  hostShare: round(hostMs / ms),
});

const speedOf = (flops: number, { ms }: Times) => ({ tflops: round(flops / ms / 1e9, 4) });

const trafficOf = (bytes: number, { ms }: Times) => ({ bytes, gbps: round(bytes / ms / 1e6, 4) });

function withoutKernel(program: Program): { withoutKernel?: readonly string[] } {
  const nodes = program.nodes.filter(({ op }) => !op.view && !op.transparent && !op.barrier);
  const lacking = nodes.filter((node) => currentBackend().supports(program.spec(node)) !== true);
  const names = [...new Set(lacking.map(({ op }) => op.name))];
  return names.length > 0 ? { withoutKernel: names } : {};
}

/** Of operands and results; frees the results. */
function bytesOf(inputs: readonly Tensor[], results: Tensor | readonly Tensor[]): number {
  const all = [...inputs, results].flat() as Tensor[];
  const bytes = all.reduce((sum, { shape, dtype }) => sum + byteSize({ shape, dtype }), 0);
  disposeAll(results);
  return bytes;
}

/** The dtype of the products that a row is held against. */
const productOf = (dtype: string): "bfloat16" | "float8" => (/fp8|float8/i.test(dtype) ? "float8" : "bfloat16");

function reportOf(card: Card, raw: readonly Raw[]): GpuReport {
  const most = (of: readonly (number | undefined)[]): number | typeof NOT_MEASURED =>
    of.some(Boolean) ? Math.max(...of.map((value) => value ?? 0)) : NOT_MEASURED;
  const products = raw.filter(({ group }) => group === "products");
  const fastest = (dtype: string) =>
    most(products.filter((row) => productOf(row.dtype) === dtype).map((r) => r.tflops));
  const copyGbps = most(raw.filter(({ group }) => group === "copies").map(({ gbps }) => gbps));
  const productTflops = { bfloat16: fastest("bfloat16"), float8: fastest("float8") };
  const share = (value: number | undefined, of: number | typeof NOT_MEASURED) =>
    value !== undefined && typeof of === "number" ? round(value / of) : undefined;
  const rows = raw.map(({ bytes: _, ...row }) => {
    const productShare = share(row.tflops, productTflops[productOf(row.dtype)]);
    const copyShare = share(row.gbps, copyGbps);
    return { ...row, ...(productShare && { productShare }), ...(copyShare && { copyShare }) };
  });
  return { card, copyGbps, productTflops, rows };
}
