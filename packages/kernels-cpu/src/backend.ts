/** The CPU as a device of @te/tensor: programs are planned and handed to the native executor. */
import type { Aval, MemoryStats } from "@te/tensor";
import {
  asTeError,
  type Backend,
  type DeviceBuffer,
  type Executable,
  fuseElementwise,
  instructionOf,
  Lru,
  type NodeSpec,
  type Pass,
  type Program,
  planMemory,
} from "@te/tensor/backend";
import { byteSize, definedOps, formatParams, warnOnce } from "@te/tensor/op";
import type { Native, NativeProgram } from "./native.js";
import { reclaim } from "./reclaim.js";

/** Bytes from which on memory for a result is taken late. */
const LARGE = 2 ** 16;
const KIND = { input: 0, arena: 1, output: 2 } as const;

class NativeBuffer implements DeviceBuffer {
  private released = false;
  private donated = false;

  constructor(
    private readonly native: Native,
    readonly handle: number,
    readonly bytes: number,
  ) {
    if (native.own(handle, this)) reclaim(native);
  }

  async read(): Promise<Uint8Array> {
    if (this.bytes >= LARGE) return new Uint8Array(await this.native.fetch(this.handle));
    const into = new Uint8Array(this.bytes);
    await this.native.read(this.handle, into);
    return into;
  }

  readSync(): Uint8Array {
    const into = new Uint8Array(this.bytes);
    this.native.readSync(this.handle, into);
    return into;
  }

  release(): void {
    if (this.released) return;
    this.released = true;
    if (this.donated) this.native.releaseDonated(this.handle);
    else this.native.release(this.handle);
  }

  donate(): void {
    this.donated = true;
  }

  reclaim(): boolean {
    this.donated = this.released || !this.native.reclaim(this.handle);
    return !this.donated;
  }
}

class NativeExecutable implements Executable {
  private readonly handles: Int32Array<ArrayBuffer>;

  constructor(
    private readonly native: Native,
    private readonly handle: number,
    private readonly inputs: number,
    private readonly outputBytes: readonly number[],
  ) {
    this.handles = new Int32Array(inputs + outputBytes.length);
    if (native.ownProgram(handle, this)) reclaim(native);
  }

  run(inputs: readonly DeviceBuffer[]): DeviceBuffer[] {
    for (let i = 0; i < this.inputs; i++) this.handles[i] = (inputs[i] as NativeBuffer).handle;
    this.native.run(this.handle, this.handles.buffer);
    return this.outputBytes.map((bytes, j) => new NativeBuffer(this.native, this.handles[this.inputs + j]!, bytes));
  }

  dispose(): void {
    this.native.destroy(this.handle);
  }
}

const withoutExtras = (aval: Aval | null): Aval | null => aval && { dtype: aval.dtype, shape: aval.shape };

/** What the native executor needs of a program. */
export function describeProgram(program: Program): NativeProgram {
  const plan = planMemory(program);
  const values: NativeProgram["values"][number][] = [];
  const index = plan.locations.map((location, id) => {
    if (!location) return -1;
    const { dtype, shape } = plan.program.values[id]!;
    return values.push({ dtype, shape, kind: KIND[location.kind], at: location.at }) - 1;
  });
  const place = (id: number): number => (id < 0 ? -1 : index[id]!);
  return {
    values,
    nodes: plan.program.nodes.map((node) => ({
      op: node.op.name,
      inputs: node.inputs.map(place),
      outputs: node.outputs.map(place),
      params: node.params,
    })),
    inputs: plan.program.given.length,
    outputs: plan.program.outputs.map((id, j) => ({ value: place(id), alias: plan.aliases[j]! })),
    donated: plan.program.donated,
    arenaBytes: plan.arenaBytes,
  };
}

export class CpuBackend implements Backend {
  readonly name = "cpu";
  readonly description: string;
  readonly passes: readonly Pass[] = [{ name: "fuse elementwise", run: fuseElementwise }];
  private readonly answers = new Lru<true | string>(4096);

  constructor(readonly native: Native) {
    const { isa, threads, oneDNN, problems } = native.info();
    for (const problem of problems) warnOnce(problem);
    this.description = `oneDNN ${oneDNN} and ${isa} kernels, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  }

  supports(node: NodeSpec): true | string {
    const key = JSON.stringify([
      node.op,
      node.inputs.map(withoutExtras),
      node.outputs.map(withoutExtras),
      formatParams(node.params),
    ]);
    let answer = this.answers.get(key);
    if (answer === undefined) {
      answer = this.ask(node);
      this.answers.set(key, answer);
    }
    return answer;
  }

  private ask(node: NodeSpec): true | string {
    const { inputs, outputs } = node;
    try {
      const op = definedOps().get(node.op);
      if (op?.elementwise) {
        const registers = inputs.map((_, i) => `%${i}`);
        const code = [[instructionOf(op, node.params), outputs[0]!.dtype, ...registers].join(" ")];
        const params = { code, outputs: [inputs.length] };
        return this.native.supports({ op: "elementwise", inputs, outputs, params }) ?? true;
      }
      return this.native.supports(node) ?? true;
    } catch (error) {
      throw asTeError(error);
    }
  }

  compile(program: Program): Executable {
    try {
      const described = describeProgram(program);
      const outputBytes = program.outputs.map((id) => byteSize(program.values[id]!));
      return new NativeExecutable(this.native, this.native.compile(described), described.inputs, outputBytes);
    } catch (error) {
      throw asTeError(error);
    }
  }

  fromHost(bytes: Uint8Array, how: "copy" | "take"): DeviceBuffer {
    try {
      const handle = how === "copy" ? this.native.fromArray(bytes) : this.native.upload(bytes);
      return new NativeBuffer(this.native, handle, bytes.byteLength);
    } catch (error) {
      throw asTeError(error);
    }
  }

  memory(): MemoryStats {
    const { live, peak, cached, arena } = this.native.memory();
    return { live, peak, cached, arena };
  }

  resetPeak(): void {
    this.native.resetPeak();
  }
}
