/** A mesh as a device: programs are split over its devices when they first run with values that lie in a certain way. */
import {
  type Backend,
  byteSize,
  type Compiled,
  compile,
  type DeviceBuffer,
  dispose,
  type Executable,
  Lru,
  logLine,
  type MemoryStats,
  type NodeSpec,
  type Program,
  spreadPrograms,
  wantsLog,
  warnOnce,
} from "@te/tensor/backend";
import { compareAtFirstRun, describe } from "./first-run.js";
import { activeMesh, type Mesh } from "./mesh.js";
import { MeshBuffer, type Placement } from "./mesh-buffer.js";
import { emit } from "./partition/emit.js";
import { formatLayout, type Layout, partsOn, wholeLayout } from "./partition/layout.js";
import { overlapExchanges } from "./partition/overlap.js";
import { partition } from "./partition/partition.js";
import { exchangeWithProcesses } from "./partition/processes.js";
import { isForMesh } from "./partition/together.js";
import { exchangeInProgram } from "./partition/virtual.js";
import { devicesOf, joinIfStarted, onJoin, processCount } from "./world.js";

/**
 * Where processes were started together, each computes for one device of the mesh. Otherwise all devices are virtual: their
 * parts are computed by one program of this process.
 */
class MeshBackend implements Backend {
  readonly name: string;
  readonly description: string;
  readonly devices: readonly number[];

  constructor(
    readonly mesh: Mesh,
    readonly device: Backend,
  ) {
    this.name = `${device.name} x${mesh.size}`;
    this.devices = devicesOf(mesh);
    const kind = processCount() > 1 ? "processes" : "virtual devices";
    this.description = `${mesh} of ${kind}, on: ${device.description}`;
    if (processCount() === 1 && wantsLog("partition"))
      warnOnce(
        `this process was started alone: the ${mesh.size} devices of ${mesh} are virtual, and take its memory.`,
        "virtual",
      );
  }

  supports(node: NodeSpec): true | string {
    // The device runs what is made of it once it is split.
    return isForMesh(node) || this.device.supports(node);
  }

  compile(program: Program): Executable {
    return new MeshExecutable(this, program);
  }

  fromHost(bytes: Uint8Array, how: "copy" | "take"): DeviceBuffer {
    return new MeshBuffer([this.device.fromHost(bytes, how)], bytes.byteLength);
  }

  memory(): MemoryStats {
    return this.device.memory();
  }

  resetPeak(): void {
    this.device.resetPeak();
  }
}

/** A program as it is split for inputs that lie in a certain way. */
interface Variant {
  readonly compiled: Compiled;
  readonly constants: readonly DeviceBuffer[];
  readonly outputs: readonly Output[];
}

/** A result: how it lies, the bytes of the whole, and of how many parts this process holds it. */
interface Output {
  readonly placement: Placement;
  readonly bytes: number;
  readonly parts: number;
}

/** Inputs come to lie in few ways, most often in one from the second step on. */
const VARIANTS = 64;

class MeshExecutable implements Executable {
  private readonly variants = new Lru<Variant>(VARIANTS, ({ compiled }) => dispose(compiled));
  /** For each input how it lies where no program has seen it, as text. */
  private readonly whole: readonly string[];

  constructor(
    private readonly backend: MeshBackend,
    private readonly program: Program,
  ) {
    this.whole = program.given.map((id) => formatLayout(wholeLayout(program.values[id]!.shape.length)));
  }

  run(inputs: readonly DeviceBuffer[]): DeviceBuffer[] {
    const given = inputs as readonly MeshBuffer[];
    const key = given.map(({ placement }, i) => placement?.key ?? this.whole[i]!).join(";");
    let variant = this.variants.get(key);
    if (!variant) {
      const ranks = this.program.given.map((id) => this.program.values[id]!.shape.length);
      variant = this.build(given.map((buffer, i) => buffer.layout(ranks[i]!)));
      this.variants.set(key, variant);
    }
    const { compiled, constants, outputs } = variant;
    const results = compiled.executable.run([...given.flatMap(({ parts }) => parts), ...constants]);
    let next = 0;
    return outputs.map(({ placement, bytes, parts }) => {
      next += parts;
      return new MeshBuffer(results.slice(next - parts, next), bytes, placement);
    });
  }

  private build(layouts: readonly Layout[]): Variant {
    const { mesh, device, devices } = this.backend;
    const partitioned = partition(mesh, this.program, layouts);
    if (wantsLog("partition")) logLine(String(partitioned));
    const described = processCount() > 1 ? describe(partitioned) : undefined;
    const exchange = described ? exchangeWithProcesses(described.hash) : exchangeInProgram;
    const compiled = compile(overlapExchanges(emit(partitioned, devices, exchange)), device);
    if (described && partitioned.collectives().length > 0) compareAtFirstRun(device, this.program.name, described);
    const constants = compiled.program.constants.map(({ tensor }) => tensor.expectStorage("jit").on(device));
    const outputs = partitioned.outputs.map((id): Output => {
      const { aval, layout } = partitioned.values[id]!;
      const placement = { mesh, aval, layout, key: formatLayout(layout) };
      return { placement, bytes: byteSize(aval), parts: partsOn(mesh, layout, devices).length };
    });
    return { compiled, constants, outputs };
  }

  dispose(): void {
    this.variants.clear();
  }
}

let backends = new WeakMap<Backend, Map<string, MeshBackend>>();

/** A mesh over a device; meshes of the same axes are one. */
function backendOf(mesh: Mesh, device: Backend): MeshBackend {
  const known = backends.get(device) ?? new Map<string, MeshBackend>();
  backends.set(device, known);
  const key = mesh.toString();
  const backend = known.get(key) ?? new MeshBackend(mesh, device);
  known.set(key, backend);
  return backend;
}

let last: MeshBackend | undefined;

onJoin(() => {
  backends = new WeakMap();
  last = undefined;
});

spreadPrograms((device) => {
  const mesh = activeMesh();
  if (!mesh || mesh.size === 1) return device;
  if (last?.mesh !== mesh || last.device !== device) {
    joinIfStarted(device);
    last = backendOf(mesh, device);
  }
  return last;
});
