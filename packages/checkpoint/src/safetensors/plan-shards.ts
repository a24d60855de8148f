/** Which device of a mesh writes which part of which tensor. */
import { processCount } from "@te/sharding";
import type { Tensor } from "@te/tensor";
import { type Block, blockOf, wholeOf } from "./blocks.js";
import type { NamedTensors } from "./codec.js";
import type { Described } from "./header.js";
import { bytesIn } from "./stored.js";

/** What one device writes, as a file: of each tensor a block at most, under its name. */
export interface Shard {
  readonly device: number;
  readonly tensors: readonly Described[];
}

/** Where a block begins, and who writes it. */
export interface PlannedPart {
  readonly start: readonly number[];
  readonly device: number;
}

export interface Plan {
  /** In the order of devices; without those that write nothing. */
  readonly shards: readonly Shard[];
  /** By tensor; one part is the whole. */
  readonly parts: ReadonlyMap<string, readonly PlannedPart[]>;
}

/**
 * Every distinct block goes to one of the devices that hold it: to the one that has least to write so far. Processes that
 * have tensors of the same shapes and shardings make the same plan.
 */
export function planShards(described: readonly Described[], tensors: NamedTensors): Plan {
  const count = Math.max(processCount(), ...Object.values(tensors).map((x) => x.sharding?.mesh.size ?? 1));
  const bytes = new Array<number>(count).fill(0);
  const files = bytes.map((): Described[] => []);
  const parts = new Map<string, PlannedPart[]>();
  for (const { name, type } of described) {
    const planned = holdersOf(tensors[name]!, count).map(({ block, devices }): PlannedPart => {
      const device = devices.reduce((best, other) => (bytes[other]! < bytes[best]! ? other : best));
      bytes[device]! += bytesIn(type, block);
      files[device]!.push({ name, type, shape: block.shape });
      return { start: block.start, device };
    });
    parts.set(name, planned);
  }
  const shards = files.map((tensors, device) => ({ device, tensors })).filter(({ tensors }) => tensors.length > 0);
  return { shards, parts };
}

/** The distinct blocks of a tensor. What lies over no mesh is whole in every process. */
function holdersOf(x: Tensor, count: number): { block: Block; devices: number[] }[] {
  const everywhere = Array.from({ length: count }, (_, device) => device);
  if (!x.sharding) return [{ block: wholeOf(x.shape), devices: everywhere }];
  const found = new Map<string, { block: Block; devices: number[] }>();
  x.sharding.devicesIndicesMap(x.shape).forEach((index, device) => {
    const block = blockOf(index);
    const key = block.start.join();
    const known = found.get(key);
    if (known) known.devices.push(device);
    else found.set(key, { block, devices: [device] });
  });
  return [...found.values()];
}
