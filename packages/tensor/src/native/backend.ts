/** A device whose programs run in native code: fused, planned, and handed to the executor of an addon. */
import { asTeError } from "../as-error.js";
import { type Aval, byteSize } from "../aval.js";
import type { Backend, DeviceBuffer, Executable, MemoryStats, NodeSpec } from "../backend.js";
import { fail } from "../errors.js";
import { expectArray, expectObject, expectString } from "../expect.js";
import { Lru } from "../lru.js";
import { definedOps, formatParams } from "../op.js";
import { fuseElementwise, instructionOf } from "../program/fuse.js";
import type { Pass } from "../program/passes.js";
import type { Program } from "../program/program.js";
import { lackingFunction, type NativeAddon, type NativeNode } from "./addon.js";
import { NativeBuffer } from "./buffer.js";
import { describeProgram } from "./describe-program.js";
import { NativeExecutable } from "./executable.js";

/** What {@link nativeBackend} is made of. */
export interface NativeDevice {
  readonly name: string;
  /** One line for people: what runs here. */
  readonly description: string;
  readonly native: NativeAddon;
  /** What the device does to a program before its elementwise ops are fused. */
  readonly passesBefore?: readonly Pass[];
  /** What the device does to a program after its elementwise ops are fused. */
  readonly passes?: readonly Pass[];
  /** See Backend.joinWorld. */
  readonly joinWorld?: Backend["joinWorld"];
}

/**
 * The backend of an addon that is built from native/core and native/node and has kernels of its own. Its kernels see
 * elementwise ops as instructions of `elementwise` nodes, and no others. Give it to registerBackend.
 */
export function nativeBackend(device: NativeDevice): Backend {
  const fn = "nativeBackend";
  expectObject(fn, { device });
  const { name, description, native, passesBefore = [], passes = [] } = device;
  expectString(fn, { name, description });
  expectObject(fn, { native });
  const lacking = lackingFunction(native);
  if (lacking !== undefined)
    fail("option", fn, `native must have the functions of NativeAddon`, `one without ${lacking}`);
  expectArray(fn, "passes", { passesBefore, passes });
  return new NativeBackend(device);
}

class NativeBackend implements Backend {
  readonly name: string;
  readonly description: string;
  readonly passes: readonly Pass[];
  readonly joinWorld?: Backend["joinWorld"];
  private readonly native: NativeAddon;
  private readonly answers = new Lru<true | string>(4096);

  constructor({ name, description, native, passesBefore = [], passes = [], joinWorld }: NativeDevice) {
    this.name = name;
    this.description = description;
    this.native = native;
    this.passes = [...passesBefore, { name: "fuse elementwise", run: fuseElementwise }, ...passes];
    if (joinWorld) this.joinWorld = (over, library) => attempt(() => joinWorld(over, library));
  }

  supports(node: NodeSpec): true | string {
    const { op, inputs, outputs, params } = node;
    const key = JSON.stringify([op, inputs.map(withoutExtras), outputs.map(withoutExtras), formatParams(params)]);
    let answer = this.answers.get(key);
    if (answer === undefined) {
      answer = attempt(() => this.native.supports(fusedAlone(node))) ?? true;
      this.answers.set(key, answer);
    }
    return answer;
  }

  scratchBytes(node: NodeSpec): number {
    return attempt(() => this.native.scratchBytes(fusedAlone(node)));
  }

  compile(program: Program): Executable {
    return attempt(() => {
      const described = describeProgram(program);
      const outputBytes = program.outputs.map((id) => byteSize(program.values[id]!));
      return new NativeExecutable(this.native, this.native.compile(described), described.inputs, outputBytes);
    });
  }

  fromHost(bytes: Uint8Array, how: "copy" | "take"): DeviceBuffer {
    return attempt(() => {
      const handle = how === "copy" ? this.native.fromArray(bytes) : this.native.upload(bytes);
      return new NativeBuffer(this.native, handle, bytes.byteLength);
    });
  }

  memory(): MemoryStats {
    const { live, peak, cached, arena } = this.native.memory();
    return { live, peak, cached, arena };
  }

  resetPeak(): void {
    this.native.resetPeak();
  }
}

const withoutExtras = (aval: Aval | null): Aval | null => aval && { dtype: aval.dtype, shape: aval.shape };

/** The node that an op comes to the kernels as where nothing is fused with it. */
function fusedAlone({ op: name, inputs, outputs, params }: NodeSpec): NativeNode {
  const op = definedOps().get(name);
  if (!op?.elementwise) return { op: name, inputs, outputs, params };
  const registers = inputs.map((_, i) => `%${i}`);
  const code = [[instructionOf(op, params), outputs[0]!.dtype, ...registers].join(" ")];
  return { op: "elementwise", inputs, outputs, params: { code, outputs: [inputs.length] } };
}

function attempt<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw asTeError(error);
  }
}
