/** A state, ways in which it lies over meshes, and what open files share: for tests, and for processes that tests start. */
import { type FileHandle, open } from "node:fs/promises";
import { devicePut, Mesh, NamedSharding, type PartitionEntry, PartitionSpec } from "@te/sharding";
import { random, Tensor, tensor, tree } from "@te/tensor";

/** Tensors of several widths and ranks, and what is no tensor. */
export const state = () => ({
  params: {
    kernel: random.normal(random.key(1), [12, 8]),
    narrow: random.normal(random.key(2), [12, 4]).astype("bfloat16"),
    stacked: random.normal(random.key(3), [2, 12, 4]),
    codes: tensor(
      Uint8Array.from({ length: 48 }, (_, i) => i),
      { shape: [12, 4], dtype: "float8_e4m3fn" },
    ),
    empty: tensor([], { shape: [12, 0] }),
  },
  optimizer: [{ count: tensor(3, { dtype: "int32" }) }, null],
  key: random.key(7),
  step: 5,
});

export type State = ReturnType<typeof state>;

/** How the parameters of the state lie; everything else is whole on all devices. */
type Specs = Readonly<Record<keyof State["params"], readonly PartitionEntry[]>>;

const rows = (...axes: string[]): Specs => ({
  kernel: [axes],
  narrow: [axes],
  stacked: [null, axes],
  codes: [axes],
  empty: [axes],
});

const columns = (axis: string): Specs => ({
  kernel: [null, axis],
  narrow: [null, axis],
  stacked: [null, null, axis],
  codes: [null, axis],
  empty: [],
});

const both: Specs = {
  kernel: ["data", "tensor"],
  narrow: ["tensor"],
  stacked: ["data", null, "tensor"],
  codes: [["tensor", "data"]],
  empty: [null, "tensor"],
};

const whole = rows();

/** Ways to lie by name; undefined: over no mesh. */
export const WAYS: Readonly<Record<string, { mesh: Mesh; specs: Specs } | undefined>> = {
  "one device": undefined,
  dp4: { mesh: new Mesh({ data: 4 }), specs: whole },
  fsdp4: { mesh: new Mesh({ fsdp: 4 }), specs: rows("fsdp") },
  fsdp2: { mesh: new Mesh({ fsdp: 2 }), specs: rows("fsdp") },
  tp4: { mesh: new Mesh({ tensor: 4 }), specs: columns("tensor") },
  tp2: { mesh: new Mesh({ tensor: 2 }), specs: columns("tensor") },
  "2x2": { mesh: new Mesh({ data: 2, tensor: 2 }), specs: both },
  fsdp3: { mesh: new Mesh({ fsdp: 3 }), specs: rows("fsdp") },
  "dp2 x fsdp2 x tp3": {
    mesh: new Mesh({ data: 2, fsdp: 2, tensor: 3 }),
    specs: { ...whole, kernel: [["tensor", "fsdp"]], stacked: ["data", ["fsdp", "tensor"]] },
  },
};

export const shardingsFor = (way: keyof typeof WAYS) => {
  const { mesh, specs } = WAYS[way]!;
  const of = (entries: readonly PartitionEntry[]) => new NamedSharding(mesh, new PartitionSpec(...entries));
  const params = Object.fromEntries(Object.entries(specs).map(([name, entries]) => [name, of(entries)]));
  return { params, optimizer: [of([])], key: of([]) };
};

/** The state as it lies in one of the ways. */
export function lieIn(way: keyof typeof WAYS, { params, optimizer, key, step }: State): State {
  if (!WAYS[way]) return { params, optimizer, key, step };
  const shardings = shardingsFor(way);
  const put = (x: Tensor, sharding: NamedSharding | undefined): Tensor => devicePut(x, sharding!);
  return {
    params: Object.fromEntries(
      Object.entries(params).map(([name, x]) => [name, put(x, shardings.params[name])]),
    ) as State["params"],
    optimizer: [{ count: put((optimizer[0] as { count: Tensor }).count, shardings.key) }, null],
    key: put(key, shardings.key),
    step,
  };
}

/** The tensors of a state by name. */
export const tensorsOf = (of: unknown): [string, Tensor][] =>
  tree
    .leavesWithPath(of)
    .flatMap(({ path, leaf }): [string, Tensor][] => (leaf instanceof Tensor ? [[path.join("/"), leaf]] : []));

export const bitsOf = (of: unknown): Promise<unknown[]> =>
  Promise.all(tensorsOf(of).map(async ([name, x]) => [name, x.dtype, x.shape, await x.data()]));

/** Where the tensors of a state lie. */
export const specsOf = (of: unknown): string[] =>
  tensorsOf(of).map(([name, x]) => `${name}: ${x.sharding?.mesh} ${x.sharding?.spec}`);

/** What all open files share. */
export async function fileHandle(): Promise<{
  prototype: FileHandle;
  read: FileHandle["read"];
  write: FileHandle["write"];
}> {
  const handle = await open("/dev/null");
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  return { prototype, read: prototype.read, write: prototype.write };
}
