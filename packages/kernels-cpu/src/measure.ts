/** What the machine can do: the yardsticks that benchmarks divide by. */
import { expectSize, fail } from "@te/tensor/op";
import { loadNative } from "./load.js";
import type { Native } from "./native.js";

function native(fn: string): Native {
  const found = loadNative();
  return "native" in found ? found.native : fail("backend", fn, "native kernels are needed", undefined, found.reason);
}

const LONGEST_S = 60;

/** Throws unless the time is one that a caller waits for. */
function expectSeconds(fn: string, seconds: number): void {
  if (typeof seconds !== "number" || !(seconds >= 0 && seconds <= LONGEST_S))
    fail("option", fn, `seconds must be a number in [0, ${LONGEST_S}]`, seconds ?? String(seconds), "Measure often.");
}

/**
 * GFLOP/s of the best oneDNN product of square and layer-like sizes from 1024³ up, measured for about `seconds`; on arm64, of
 * multiply-adds in registers.
 */
export function productPeak(dtype: "float32" | "bfloat16", seconds = 1): number {
  if (!["float32", "bfloat16"].includes(dtype))
    fail("dtype", "productPeak", "dtype must be float32 or bfloat16", dtype ?? String(dtype), "Choose one.");
  expectSeconds("productPeak", seconds);
  return native("productPeak").productPeak(dtype, seconds);
}

/** Bytes that a copy moves which no cache holds. */
const BEYOND_CACHES = 2 ** 28;

/** GB/s, read plus written, of a copy by all threads that moves `bytes` in all, between buffers that are already mapped. */
export function copyBandwidth(seconds = 0.5, bytes = BEYOND_CACHES): number {
  expectSeconds("copyBandwidth", seconds);
  expectSize("copyBandwidth", { bytes });
  return native("copyBandwidth").copyBandwidth(seconds, bytes);
}

/** GB/s of reading `bytes` once by all threads, from memory that is already mapped: what a product of one row can reach. */
export function readBandwidth(seconds = 0.5, bytes = BEYOND_CACHES): number {
  expectSeconds("readBandwidth", seconds);
  expectSize("readBandwidth", { bytes });
  return native("readBandwidth").readBandwidth(seconds, bytes);
}

const COLLECTIVES = ["Allreduce", "Allgather", "Reduce_scatter_block", "Alltoall"] as const;
const LARGEST_MESSAGE = 2 ** 30;

/**
 * Seconds of one call of a collective of MPI itself, by its name there, on float32: the best of `times`, each begun by all processes together. `bytes`
 * are of the larger of what a process gives and what it gets. Every process of the world calls it, with nothing else under
 * way. Throws TeError "state" where this process is alone.
 */
export function collectiveTime(name: (typeof COLLECTIVES)[number], bytes: number, times = 10): number {
  const fn = "collectiveTime";
  if (!COLLECTIVES.includes(name))
    fail("option", fn, `name must be one of ${COLLECTIVES.join(", ")}`, name ?? String(name));
  expectSize(fn, { bytes });
  expectSize(fn, { times });
  if (bytes > LARGEST_MESSAGE) fail("option", fn, `bytes must be at most ${LARGEST_MESSAGE}`, bytes);
  return native(fn).collectiveTime(name, bytes, times);
}

/**
 * Nanoseconds of the calling thread's time for one dispatch of a program, with the device busy: the best of batches of
 * calls, each with the release of its result. Batches are short, so that some are not interrupted by other processes, and
 * last for a third of a second in all, so that some find both processors at their full speed.
 */
export function dispatchCost(): number {
  const n = native("dispatchCost");
  const aval = { dtype: "float32", shape: [1] };
  const program = n.compile({
    values: [
      { ...aval, kind: 0, at: 0 },
      { ...aval, kind: 2, at: 0 },
    ],
    nodes: [{ op: "copy", inputs: [0], outputs: [1], params: {} }],
    inputs: 1,
    outputs: [{ value: 1, alias: -1 }],
    arenaBytes: 0,
  });
  const input = n.fromArray(new Uint8Array(4));
  const handles = Int32Array.of(input, 0);
  const BATCHES = 4000;
  const CALLS = 100;
  let best = Number.POSITIVE_INFINITY;
  for (let batch = 0; batch < BATCHES; batch++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < CALLS; i++) {
      n.run(program, handles.buffer);
      n.release(handles[1]!);
    }
    best = Math.min(best, Number(process.hrtime.bigint() - start) / CALLS);
    n.readSync(input, new Uint8Array(4));
  }
  n.destroy(program);
  n.release(input);
  return best;
}
