/** What running without native kernels costs: a small layer, forward and backward, on both backends. */
import { setDevice } from "@te/tensor";
import { DTYPES, type LayerRow, type Shape, subject } from "./layer.js";
import { type Machine, machine } from "./machine.js";
import { best, round, timeOnce } from "./timing.js";

export const SMALL: Shape = { batch: 2, sequence: 64, hidden: 128, mlp: 512, heads: 4 };

export interface ReferenceRow {
  readonly dtype: LayerRow["dtype"];
  /** Forward + backward, the best of several. */
  readonly nativeMs: number;
  readonly referenceMs: number;
  readonly timesSlower: number;
}

export interface ReferenceReport {
  readonly machine: Machine;
  readonly shape: Shape;
  readonly rows: readonly ReferenceRow[];
}

export async function benchReference({ shape = SMALL, log = (_: string) => {} } = {}): Promise<ReferenceReport> {
  const rows: ReferenceRow[] = [];
  for (const dtype of DTYPES) {
    const nativeMs = await milliseconds("cpu", dtype, shape, 20);
    const referenceMs = await milliseconds("reference", dtype, shape, 2);
    const timesSlower = round(referenceMs / nativeMs, 2);
    rows.push({ dtype, nativeMs: round(nativeMs), referenceMs: round(referenceMs), timesSlower });
    log(dtype);
  }
  return { machine: machine(), shape, rows };
}

async function milliseconds(device: string, dtype: LayerRow["dtype"], shape: Shape, rounds: number): Promise<number> {
  setDevice(device);
  try {
    const { forwardBackward } = subject(dtype, shape);
    // The first call compiles.
    await timeOnce(forwardBackward);
    const samples: number[] = [];
    for (let i = 0; i < rounds; i++) samples.push(await timeOnce(forwardBackward));
    return best(samples);
  } finally {
    setDevice("auto");
  }
}
