/** Functions of parts with every collective, for meshes of several shapes, and what they give on the current one. */

import { grad, jit, random, type Tensor } from "@te/tensor";
import {
  allGather,
  allToAll,
  axisIndex,
  devicePut,
  Mesh,
  NamedSharding,
  PartitionSpec as P,
  pmax,
  pmean,
  pmin,
  ppermute,
  psum,
  psumScatter,
  shardMap,
  withMesh,
} from "../src/index.js";

/** Meshes for so many processes. */
export const MESHES: Readonly<Record<number, readonly Mesh[]>> = {
  2: [new Mesh({ a: 2 })],
  4: [new Mesh({ a: 4 }), new Mesh({ a: 2, b: 2 })],
};

interface Case {
  readonly name: string;
  readonly f: (x: Tensor) => Tensor;
  readonly out: P;
  /** Whether a derivative is known. */
  readonly differentiable?: false;
}

/** Of x: [16, 8], whose rows axis a splits, and whose columns axis b splits where there is one. */
function casesOn({ shape }: Mesh): Case[] {
  const size = shape.a!;
  const split = shape.b ? new P("a", "b") : new P("a");
  const columns = shape.b ? new P(null, "b") : new P();
  const ring = Array.from({ length: size }, (_, i) => [i, (i + 1) % size] as const);
  const one: Case[] = [
    { name: "psum", f: (x) => psum(x, "a"), out: columns },
    { name: "psum of bfloat16", f: (x) => psum(x.astype("bfloat16"), "a").astype("float32"), out: columns },
    { name: "pmean", f: (x) => pmean(x.mul(x), "a"), out: columns },
    { name: "pmax", f: (x) => pmax(x, "a"), out: columns, differentiable: false },
    { name: "pmin", f: (x) => pmin(x, "a"), out: columns, differentiable: false },
    { name: "allGather", f: (x) => allGather(x, "a").sum(0).mul(x), out: split },
    { name: "allGather, tiled", f: (x) => allGather(x, "a", { tiled: true }).mul(x.sum()), out: split },
    { name: "allGather along a last dimension", f: (x) => allGather(x, "a", { axis: -1 }).sum(-1), out: split },
    {
      name: "psumScatter",
      f: (x) =>
        psumScatter(x.reshape([size, -1]), "a")
          .mul(x.sum())
          .reshape([1, -1]),
      out: split,
    },
    {
      name: "psumScatter, tiled along columns",
      f: (x) => psumScatter(x.mul(x), "a", { scatterDimension: 1, tiled: true }),
      out: split,
    },
    { name: "ppermute around", f: (x) => ppermute(x, "a", ring).mul(x), out: split },
    { name: "ppermute of one", f: (x) => ppermute(x, "a", [[size - 1, 0]]).add(x), out: split },
    { name: "ppermute to itself", f: (x) => ppermute(x, "a", [[0, 0]]), out: split },
    {
      name: "allToAll",
      f: (x) =>
        allToAll(x.reshape([-1, size, 2]), "a", 1, 0)
          .mul(x.sum())
          .reshape([2, -1]),
      out: split,
    },
    { name: "allToAll, tiled", f: (x) => allToAll(x, "a", 1, 0, { tiled: true }).mul(x.sum()), out: split },
    { name: "axisIndex", f: (x) => x.mul(axisIndex("a").astype("float32").add(1)), out: split },
  ];
  if (!shape.b) return one;
  return [
    ...one,
    { name: "psum over both", f: (x) => psum(x, ["a", "b"]), out: new P() },
    { name: "psum over b", f: (x) => psum(x.mul(x), "b"), out: new P("a") },
    { name: "pmax over both", f: (x) => pmax(x, ["b", "a"]), out: new P(), differentiable: false },
    { name: "allGather over both", f: (x) => allGather(x, ["a", "b"], { tiled: true }).mul(x.sum()), out: split },
    { name: "psumScatter over both", f: (x) => psumScatter(x, ["b", "a"], { tiled: true }).mul(x.sum()), out: split },
    { name: "axisIndex over both", f: (x) => x.mul(axisIndex(["a", "b"]).astype("float32")), out: split },
  ];
}

const wholeOn = (mesh: Mesh, x: Tensor): Promise<unknown> => devicePut(x, new NamedSharding(mesh, new P())).data();

/** Values and gradients of all cases on a mesh by name, eager and in jit; each as the bits of its numbers. */
export function resultsOn(mesh: Mesh): Promise<Record<string, number[]>> {
  return withMesh(mesh, async () => {
    const inSpecs = mesh.shape.b ? new P("a", "b") : new P("a");
    const x = random.normal(random.key(1), [16, 8]);
    const results: Record<string, number[]> = {};
    const record = async (name: string, y: Tensor) => {
      const { buffer, byteOffset, length } = (await wholeOn(mesh, y)) as Float32Array;
      results[`${mesh} ${name}`] = Array.from(new Uint32Array(buffer, byteOffset, length));
    };
    for (const { name, f, out, differentiable } of casesOn(mesh)) {
      const mapped = shardMap(f, { mesh, inSpecs, outSpecs: out });
      await record(name, mapped(x));
      await record(`${name} in jit`, jit(mapped)(x));
      if (differentiable === false) continue;
      const loss = (x: Tensor): Tensor => {
        const y = mapped(x);
        return y.mul(random.normal(random.key(2), y.shape)).sum();
      };
      await record(`gradient of ${name}`, grad(loss)(x) as Tensor);
      await record(`gradient of ${name} in jit`, jit(grad(loss))(x) as Tensor);
    }
    return results;
  });
}
