/** A profile of the machine that this runs on, measured by all processes of a world at once: each is a device with its share. */
import { totalmem } from "node:os";
import { devicePut, Mesh, NamedSharding, PartitionSpec, processCount, psum, shardMap, withMesh } from "@te/sharding";
import { jit, type Tensor, zeros } from "@te/tensor";
import { expectFunction, expectObject } from "@te/tensor/op";
import type { Hardware } from "./hardware.js";

/** What measures a process alone: those of `@te/kernels-cpu`. */
export interface Yardsticks {
  /** GB/s, read plus written, of copies beyond the caches. */
  readonly copyBandwidth: (seconds?: number) => number;
  /** GFLOP/s of products. */
  readonly productPeak: (dtype: "float32" | "bfloat16", seconds?: number) => number;
}

const SECONDS = 0.5;
/** Elements of float32 in messages whose time is latency, and in those whose time is bandwidth. */
const SMALL = 1;
const LARGE = 2 ** 22;

/**
 * The profile of this machine for as many devices as there are processes: every one calls it at the same time, and what is
 * shared, such as cores and memory, is measured as shared. A process alone has no links; those of its profile are copies.
 */
export async function measureHardware(yardsticks: Yardsticks): Promise<Hardware> {
  expectObject("measureHardware", { yardsticks });
  const { copyBandwidth, productPeak } = yardsticks;
  expectFunction("measureHardware", { copyBandwidth, productPeak });
  const devices = processCount();
  // All start together: the first exchange waits for the last.
  const [latency, link] = devices > 1 ? await measureLink(devices) : [0, undefined];
  const bandwidth = copyBandwidth(SECONDS) * 1e9;
  const float32 = productPeak("float32", SECONDS) * 1e9;
  // Narrow operands are multiplied as what is faster.
  const narrow = Math.max(float32, productPeak("bfloat16", SECONDS) * 1e9);
  const links = link ?? bandwidth / 2;
  return {
    name: `this machine, ${devices} ${devices === 1 ? "process" : "processes"}`,
    source: "measured: copies beyond the caches, the fastest products of oneDNN, all-reduces of 4 bytes and of 16 MB",
    memory: Math.floor(totalmem() / devices),
    bandwidth,
    flops: { 1: narrow, 2: narrow, 4: float32 },
    perMachine: devices,
    links: { machine: links, network: links },
    latency: { machine: latency, network: latency },
    overlaps: false,
  };
}

/** Seconds of a step of an all-reduce among all, and bytes that each sends in a second of a large one. */
async function measureLink(devices: number): Promise<[latency: number, bytes: number]> {
  const small = await secondsOfSum(devices, SMALL);
  const large = await secondsOfSum(devices, LARGE);
  const sent = (2 * (devices - 1) * LARGE * 4) / devices;
  return [small / Math.ceil(Math.log2(devices)), sent / Math.max(large - small, 1e-9)];
}

const RUNS = 15;

/** The median time of an all-reduce of so many elements of float32, with the dispatch of its program. */
function secondsOfSum(devices: number, elements: number): Promise<number> {
  const mesh = new Mesh({ all: devices });
  return withMesh(mesh, async () => {
    const whole = new PartitionSpec(null);
    const sum = jit(shardMap((x: Tensor) => psum(x, "all"), { mesh, inSpecs: whole, outSpecs: whole }));
    const x = devicePut(zeros([elements]), new NamedSharding(mesh, whole));
    const times: number[] = [];
    for (let i = 0; i < RUNS; i++) {
      const start = performance.now();
      const y = sum(x);
      await y.slice([0], [1]).data(); // behind it, without its bytes
      times.push((performance.now() - start) / 1000);
      y.dispose();
    }
    x.dispose();
    return times.sort((a, b) => a - b)[RUNS >> 1]!;
  });
}
