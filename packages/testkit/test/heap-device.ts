/**
 * A second device, small because it is made of what @te/tensor/backend gives: memory is byte arrays, programs are planned
 * into one arena, ops run by their own loops. Of SLOW it has no kernels.
 */

import type { Aval } from "@te/tensor";
import {
  type Backend,
  type DeviceBuffer,
  type Executable,
  type Location,
  type Program,
  type ProgramNode,
  planMemory,
} from "@te/tensor/backend";
import { allocate, byteSize, definedOps, type HostArray, nameInputs, nameOutputs, sizeOf, viewAs } from "@te/tensor/op";

/** Primitives that run on the host, between two programs of the device. */
const SLOW = ["sin", "sort", "take", "cumsum"];

let live = 0;
let peak = 0;

class HeapBuffer implements DeviceBuffer {
  #released = false;
  #donated = false;

  constructor(
    public data: Uint8Array | undefined,
    private readonly error?: unknown,
  ) {
    live += this.bytes;
    peak = Math.max(peak, live);
  }

  get bytes(): number {
    return this.data?.byteLength ?? 0;
  }

  expectData(): Uint8Array {
    if (this.error) throw this.error;
    return this.data ?? new Uint8Array(0);
  }

  read = async (): Promise<Uint8Array> => this.readSync();
  readSync = (): Uint8Array => this.expectData().slice();

  release(): void {
    if (!this.#released) live -= this.bytes;
    this.#released = true;
  }

  /** Gives the memory to a result. */
  take(): Uint8Array {
    const data = this.expectData();
    this.release();
    this.data = undefined;
    return data;
  }

  donate(): void {
    this.#donated = true;
  }

  reclaim(): boolean {
    return !(this.#donated && this.data === undefined);
  }
}

class HeapExecutable implements Executable {
  private readonly plan;
  private readonly arena;

  constructor(private readonly original: Program) {
    const slow = original.nodes.find(({ op }) => SLOW.includes(op.name));
    if (slow) throw new Error(`heap: the device was given ${slow.op.name}, which it lacks`);
    this.plan = planMemory(original);
    this.arena = new Uint8Array(this.plan.arenaBytes);
  }

  run(inputs: readonly DeviceBuffer[]): DeviceBuffer[] {
    const { program, aliases } = this.plan;
    try {
      const given = inputs.map((buffer) => (buffer as HeapBuffer).expectData());
      const results = program.outputs.map(
        (id, j) => given[aliases[j]!] ?? new Uint8Array(byteSize(program.values[id]!)),
      );
      for (const node of program.nodes) this.runNode(node, given, results);
      for (const at of aliases) if (at >= 0) (inputs[at] as HeapBuffer).take();
      for (const at of this.original.donated) (inputs[at] as HeapBuffer).take();
      return results.map((data) => new HeapBuffer(data));
    } catch (error) {
      return program.outputs.map(() => new HeapBuffer(undefined, error));
    }
  }

  private runNode(
    { op, params, ...node }: ProgramNode,
    given: readonly Uint8Array[],
    results: readonly Uint8Array[],
  ): void {
    const at = (id: number): HostArray => {
      const aval = this.plan.program.values[id]!;
      const { kind, at } = this.plan.locations[id] as Location;
      const bytes = kind === "input" ? given[at]! : kind === "output" ? results[at]! : this.arena.subarray(at);
      return { ...aval, data: viewAs(aval.dtype, bytes.subarray(0, byteSize(aval))) };
    };
    // Results may lie where operands do: they go there when all are computed.
    const fresh = node.outputs.map((id) => hostArray(this.plan.program.values[id]!));
    const operands = node.inputs.map((id) => (id < 0 ? undefined : at(id)));
    op.evaluate!(nameInputs(op, operands), params, nameOutputs(op, fresh));
    node.outputs.forEach((id, k) => void at(id).data.set(fresh[k]!.data as never));
  }

  dispose(): void {}
}

const hostArray = ({ shape, dtype }: Aval): HostArray => ({ shape, dtype, data: allocate(dtype, sizeOf(shape)) });

export const heapDevice: Backend = {
  name: "heap",
  description: "a device for tests",
  supports: ({ op }) =>
    SLOW.includes(op) ? "it is too slow here" : definedOps().get(op)?.evaluate !== undefined || "primitives only",
  compile: (program) => new HeapExecutable(program),
  fromHost: (bytes) => new HeapBuffer(bytes.slice()),
  memory: () => ({ live, peak, cached: 0, arena: 0 }),
  resetPeak: () => {
    peak = live;
  },
};
