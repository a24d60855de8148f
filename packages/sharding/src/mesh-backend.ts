/** A mesh as a device: programs are split over its devices when they first run with values that lie in a certain way. */

import type { DeviceBuffer, NodeSpec, Program } from "@te/tensor/backend";
import {
  type Backend,
  byteSize,
  type Compiled,
  compile,
  dispose,
  type Executable,
  type MemoryStats,
  spreadPrograms,
  wantsLog,
} from "@te/tensor/backend";
import { activeMesh, type Mesh } from "./mesh.js";
import { MeshBuffer } from "./mesh-buffer.js";
import { emit } from "./partition/emit.js";
import { formatLayout, type Layout, partsOn } from "./partition/layout.js";
import { partition } from "./partition/partition.js";
import type { PartitionedProgram } from "./partition/partitioned.js";
import { exchangeWithProcesses } from "./partition/processes.js";
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
  }

  supports(node: NodeSpec): true | string {
    // Of a shardMap only the body runs on the device.
    return node.op === "shard_map" || this.device.supports(node);
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
  readonly partitioned: PartitionedProgram;
  readonly compiled: Compiled;
  readonly constants: readonly DeviceBuffer[];
}

class MeshExecutable implements Executable {
  private readonly variants = new Map<string, Variant>();

  constructor(
    private readonly backend: MeshBackend,
    private readonly program: Program,
  ) {}

  run(inputs: readonly DeviceBuffer[]): DeviceBuffer[] {
    const given = inputs as readonly MeshBuffer[];
    const layouts = given.map((buffer, i) => buffer.layout(this.program.values[this.program.given[i]!]!.shape.length));
    const key = layouts.map(formatLayout).join(";");
    let variant = this.variants.get(key);
    if (!variant) {
      variant = this.build(layouts);
      this.variants.set(key, variant);
    }
    const { partitioned, compiled, constants } = variant;
    const results = compiled.executable.run([...given.flatMap(({ parts }) => parts), ...constants]);
    const { mesh, devices } = this.backend;
    let next = 0;
    return partitioned.outputs.map((id) => {
      const placement = { mesh, ...partitioned.values[id]! };
      const count = partsOn(mesh, placement.layout, devices).length;
      const parts = results.slice(next, next + count);
      next += count;
      return new MeshBuffer(parts, byteSize(placement.aval), placement);
    });
  }

  private build(layouts: readonly Layout[]): Variant {
    const { mesh, device, devices } = this.backend;
    const partitioned = partition(mesh, this.program, layouts);
    if (wantsLog("partition")) process.stderr.write(`${partitioned}\n`);
    const exchange = processCount() > 1 ? exchangeWithProcesses(hashOf(String(partitioned))) : exchangeInProgram;
    const compiled = compile(emit(partitioned, devices, exchange), device);
    const constants = compiled.program.constants.map(({ tensor }) => tensor.expectStorage("jit").on(device));
    return { partitioned, compiled, constants };
  }

  dispose(): void {
    for (const { compiled } of this.variants.values()) dispose(compiled);
    this.variants.clear();
  }
}

/** A number of 32 bits that equal texts share (FNV-1a). */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
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
