/**
 * Estimates from bytes and operations: what the kernels of a program would take at an H100's full speed. No GPU is asked and
 * nothing is measured; real kernels take longer.
 */
import { createTrainer, type Precision } from "@te/example-char-lm";
import { cudaPasses } from "@te/kernels-cuda";
import { currentBackend, type DType, jit, setDevice, type Tensor, zeros } from "@te/tensor";
import {
  type Backend,
  byteSize,
  type DeviceBuffer,
  type Program,
  type ProgramNode,
  planMemory,
  registerBackend,
} from "@te/tensor/backend";
import { fail, sizeOf } from "@te/tensor/op";
import type { GpuCase } from "./gpu-cases.js";
import { layerFlops, type StepSizes, shapeOfLayer, shapeOfModel, stepFlops } from "./gpu-steps.js";
import { subject } from "./layer.js";
import { round } from "./timing.js";

/** NVIDIA's figures for an H100 SXM: bytes and dense operations of a second. */
export const H100 = { bytes: 3.35e12, bfloat16: 989e12, float8: 1979e12, float32: 67e12 } as const;

export interface Estimate {
  readonly what: string;
  readonly shape: string;
  readonly dtype: string;
  /** The sum over all kernels of the longer of their two times. */
  readonly estimatedMs: number;
  /** The part of it in kernels that are bound by memory. */
  readonly memoryBoundMs: number;
  readonly kernels: number;
  /** What the products and attention would reach if the estimate came true. */
  readonly estimatedTflops?: number;
  readonly arenaBytes: number;
  /** The ops that take longest. */
  readonly longest: readonly { readonly op: string; readonly kernels: number; readonly estimatedMs: number }[];
}

const LISTED = 12;
const PLANNED = "planned";

/** What the device was given to compile last. */
let compiled: Program | undefined;

/** A device with a kernel for everything that computes nothing: its buffers have sizes and no memory. */
const plannedDevice: Backend = {
  name: PLANNED,
  description: "nothing is computed: programs are compiled to be read",
  passes: cudaPasses,
  supports: () => true,
  compile(program) {
    compiled = program;
    return { run: () => program.outputs.map((id) => bufferOf(byteSize(program.values[id]!))), dispose() {} };
  },
  fromHost: ({ byteLength }) => bufferOf(byteLength),
  memory: () => ({ live: 0, peak: 0, cached: 0, arena: 0 }),
  resetPeak() {},
};

const bufferOf = (bytes: number): DeviceBuffer => ({
  bytes,
  read: async () => new Uint8Array(bytes),
  readSync: () => new Uint8Array(bytes),
  release() {},
  donate() {},
  reclaim: () => false,
});

registerBackend(PLANNED, () => plannedDevice);

/** The program that a call compiles. */
function compiledBy(call: () => unknown): Program {
  compiled = undefined;
  call();
  return compiled ?? fail("state", "bench gpu --plan", "the call must compile a program");
}

/** What one compiled program would take. */
function estimate(what: string, shape: string, dtype: string, compiled: Program, flops: number): Estimate {
  const nodes = compiled.nodes.filter(({ op }) => !op.view && !op.barrier && !op.transparent);
  const byOp = new Map<string, { op: string; kernels: number; estimatedMs: number }>();
  let [total, memoryBound] = [0, 0];
  for (const node of nodes) {
    const [memory, arithmetic] = timesOf(compiled, node);
    const ms = Math.max(memory, arithmetic) * 1e3;
    total += ms;
    if (memory >= arithmetic) memoryBound += ms;
    const row = byOp.get(node.op.name) ?? { op: node.op.name, kernels: 0, estimatedMs: 0 };
    byOp.set(node.op.name, { ...row, kernels: row.kernels + 1, estimatedMs: row.estimatedMs + ms });
  }
  const longest = [...byOp.values()].sort((a, b) => b.estimatedMs - a.estimatedMs).slice(0, LISTED);
  return {
    what,
    shape,
    dtype,
    estimatedMs: round(total, 4),
    memoryBoundMs: round(memoryBound, 4),
    kernels: nodes.length,
    ...(flops > 0 && { estimatedTflops: round(flops / total / 1e9, 4) }),
    arenaBytes: planMemory(compiled).arenaBytes,
    longest: longest.map((row) => ({ ...row, estimatedMs: round(row.estimatedMs) })),
  };
}

/** Seconds that a node's bytes take, each operand read or written once, and those of its operations. */
function timesOf(program: Program, node: ProgramNode): [memory: number, arithmetic: number] {
  const ids = [...new Set([...node.inputs, ...node.outputs])].filter((id) => id >= 0);
  const bytes = ids.reduce((sum, id) => sum + byteSize(program.values[id]!), 0);
  const first = program.values[node.inputs[0]!];
  return [bytes / H100.bytes, first ? flopsOf(program, node) / rateOf(first.dtype) : 0];
}

const rateOf = (dtype: DType): number =>
  dtype.startsWith("float8") ? H100.float8 : dtype === "float32" ? H100.float32 : H100.bfloat16;

/** The general product, and what passes make of it and what follows. */
const PRODUCTS: ReadonlySet<string> = new Set(["dot", "scaled_dot", "dot_activation", "dot_activation_backward"]);

/** Operations of products; those of other kernels are few beside their bytes. */
function flopsOf(program: Program, { op, inputs, outputs, params }: ProgramNode): number {
  const shapeOf = (id: number): readonly number[] => program.values[id]!.shape;
  if (PRODUCTS.has(op.name)) {
    const { lhsContract } = params as { lhsContract: readonly number[] };
    const depth = lhsContract.reduce((product, axis) => product * shapeOf(inputs[0]!)[axis]!, 1);
    return 2 * depth * sizeOf(shapeOf(outputs[0]!));
  }
  if (!op.name.startsWith("attention")) return 0;
  // q [B, S, h, d], or packed with its keys.
  const q = shapeOf(inputs[0]!);
  const [batch, sequence] = [q[0]!, q[1]!];
  const [heads, depth] = q.slice(-2) as [number, number];
  const visible = (params as { causal: boolean }).causal ? 0.5 : 1;
  return (op.name === "attention" ? 4 : 10) * batch * heads * sequence ** 2 * depth * visible;
}

/** The estimates of cases, of the layer and of the train step. Nothing is computed, and no memory is taken. */
export function estimates(cases: readonly GpuCase[], sizes: StepSizes, precisions: readonly Precision[]): Estimate[] {
  const before = currentBackend().name;
  setDevice(PLANNED);
  try {
    return [
      ...cases.map(({ group, name, shape, dtype, inputs, f, flops = 0 }) => {
        const given = inputs();
        const program = compiledBy(() => jit(f as (...inputs: Tensor[]) => Tensor)(...given));
        return estimate(`${group}: ${name}`, shape, dtype, program, flops);
      }),
      ...(["bfloat16", "fp8"] as const).map((dtype) => {
        const { forwardBackward } = subject(dtype, sizes.layer);
        const shape = shapeOfLayer(sizes.layer);
        return estimate(
          "layer: forward and backward",
          shape,
          dtype,
          compiledBy(forwardBackward),
          layerFlops(sizes.layer),
        );
      }),
      ...precisions.map((precision) => {
        const { model, batch } = sizes;
        const trainer = createTrainer(model, precision, { steps: 1000, seed: 0 });
        const [state, tokens] = [trainer.start(), zeros([batch, model.sequence + 1], { dtype: "int32" })];
        const program = compiledBy(() => trainer.step(state, tokens));
        return estimate("train step", shapeOfModel(model, batch), precision.name, program, stepFlops(model, batch));
      }),
    ];
  } finally {
    setDevice(before);
  }
}
