/** The device "reference": programs run by the evaluator, in host memory that is counted. */
import type { Aval } from "../aval.js";
import type { Backend, DeviceBuffer, Executable, MemoryStats } from "../backend.js";
import { registerBackend } from "../devices.js";
import { viewAs } from "../dtype.js";
import { definedOps, type HostArray } from "../op.js";
import type { Program } from "../program/program.js";
import { evaluateProgram } from "./evaluate.js";

let live = 0;
let peak = 0;

// Counts what was collected. Its callbacks wait for the event loop; the memory itself is V8's and does not.
const collected = new FinalizationRegistry<number>((bytes) => {
  live -= bytes;
});

/** Host memory. Holds the error of the run that should have produced it, if that failed. */
class HostBuffer implements DeviceBuffer {
  private released = false;
  private taken = false;

  constructor(
    private array: Uint8Array,
    private readonly error?: unknown,
  ) {
    live += array.byteLength;
    peak = Math.max(peak, live);
    collected.register(this, array.byteLength, this);
  }

  get bytes(): number {
    return this.array.byteLength;
  }

  view(aval: Aval): HostArray {
    if (this.error) throw this.error;
    return { ...aval, data: viewAs(aval.dtype, this.array) };
  }

  readSync(): Uint8Array {
    if (this.error) throw this.error;
    return this.array.slice();
  }

  async read(): Promise<Uint8Array> {
    return this.readSync();
  }

  release(): void {
    if (this.released) return;
    this.released = true;
    collected.unregister(this);
    live -= this.array.byteLength;
  }

  donate(): void {}

  reclaim(): boolean {
    return !this.taken;
  }

  /** Ends it with the run that it was donated to. */
  take(): void {
    this.release();
    this.taken = true;
    this.array = new Uint8Array(0);
  }
}

class ReferenceExecutable implements Executable {
  constructor(private readonly program: Program) {}

  run(inputs: readonly DeviceBuffer[]): DeviceBuffer[] {
    const { program } = this;
    try {
      const given = program.given.map((id, i) => (inputs[i] as HostBuffer).view(program.values[id]!));
      const results = evaluateProgram(program, given);
      const taken = new Set(given.map(({ data }) => data));
      const outputs = results.map(({ data }) => {
        const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
        const shared = taken.has(data);
        taken.add(data);
        return new HostBuffer(shared ? bytes.slice() : bytes);
      });
      for (const i of program.donated) (inputs[i] as HostBuffer).take();
      return outputs;
    } catch (error) {
      return program.outputs.map(() => new HostBuffer(new Uint8Array(0), error));
    }
  }

  dispose(): void {}
}

/** The evaluator as a device: every op has a definition here, so nothing is ever missing; it is slow. */
const referenceBackend: Backend = {
  name: "reference",
  description: "plain TypeScript, one thread",
  supports: (node) => definedOps().get(node.op)?.evaluate !== undefined || "the reference runs primitives",
  compile: (program) => new ReferenceExecutable(program),
  fromHost: (bytes) => new HostBuffer(bytes.slice()),
  // Tensors are array buffers here, so no more of them live than this process has.
  memory: (): MemoryStats => ({ live: Math.min(live, process.memoryUsage().arrayBuffers), peak, cached: 0, arena: 0 }),
  resetPeak: () => {
    peak = live;
  },
};

registerBackend("reference", () => referenceBackend, { priority: 0 });
