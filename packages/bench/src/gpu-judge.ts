/** Whether a GPU computed what it was timed for: a part of each result against the CPU, and whole results that are finite. */
import { currentBackend, setDevice, type Tensor, tensor } from "@te/tensor";
import type { GpuCase } from "./gpu-cases.js";
import { disposeAll } from "./timing.js";

/** Rows, columns or batches that are compared. */
const PART = 1;

/** Relative to the largest magnitude of the part: a few roundings of the dtype of the result. */
const LIMITS: Readonly<Record<string, number>> = { float32: 1e-4, bfloat16: 1.6e-2, float8_e4m3fn: 7e-2 };

/** Throws unless the part of the first result that the CPU computes from a part of the inputs is what the GPU gave. */
export async function judge({ name, f, judged }: GpuCase, inputs: readonly Tensor[]): Promise<void> {
  const axes = judged ?? { inputs: { 0: 0 }, result: 0 };
  const results = [f(...inputs)].flat();
  const got = partOf(results[0]!, axes.result);
  const found = await got.values();
  const { dtype } = got;
  const parts = inputs.map((input, i) => (axes.inputs[i] === undefined ? input : partOf(input, axes.inputs[i])));
  const hosts = await Promise.all(parts.map(async (part) => ({ part, data: await part.data() })));
  disposeAll([results, got, parts.filter((part) => !inputs.includes(part))]);

  const wanted = await onCpu(async () => {
    const copies = hosts.map(({ part, data }) => tensor(data, { shape: part.shape, dtype: part.dtype }));
    const reference = [f(...copies)].flat();
    const values = await partOf(reference[0]!, axes.result).values();
    disposeAll([copies, reference]);
    return values;
  });
  const largest = wanted.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  const limit = LIMITS[dtype]! * largest;
  const wrong = wanted.findIndex((v, i) => !(Math.abs(v - found[i]!) <= limit));
  if (wrong >= 0 || found.length !== wanted.length || !(largest > 0))
    throw new Error(`${name}: element ${wrong} is ${found[wrong]}, and ${wanted[wrong]} on the CPU`);
}

function partOf(t: Tensor, axis: number): Tensor {
  const size = Math.min(PART, t.shape[axis]!);
  return t.slice(
    t.shape.map(() => 0),
    t.shape.map((d, k) => (k === axis ? size : d)),
  );
}

async function onCpu<T>(body: () => Promise<T>): Promise<T> {
  const before = currentBackend().name;
  setDevice("cpu");
  try {
    return await body();
  } finally {
    setDevice(before);
  }
}

/** Throws unless every tensor is finite and not zero throughout. Large ones stay on the device. */
export async function judgeFinite(name: string, tensors: readonly Tensor[]): Promise<void> {
  for (const t of tensors) {
    const wide = t.astype("float32");
    const largest = wide.abs().max();
    const value = await largest.item();
    disposeAll([wide, largest].filter((one) => one !== t));
    if (!(Number.isFinite(value) && value > 0)) throw new Error(`${name}: a tensor [${t.shape}] reaches ${value}`);
  }
}
