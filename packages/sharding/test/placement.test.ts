/** Tensors over meshes: where they lie, how they come back, and what jit does with shardings of arguments and results. */
import { grad, jit, type Tensor, tensor } from "@te/tensor";
import { expectError, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import {
  devicePut,
  Mesh,
  makePartitioned,
  NamedSharding,
  PartitionSpec,
  processCount,
  processIndex,
  withMesh,
} from "../src/index.js";

const mesh = new Mesh({ data: 2, tensor: 3 });
const sharding = (...entries: (string | null | string[])[]) => new NamedSharding(mesh, new PartitionSpec(...entries));
const x = tensor(
  Float32Array.from({ length: 24 }, (_, i) => i),
  { shape: [4, 6] },
);
const specOf = (x: Tensor): string => String(x.sharding?.spec);

onEachDevice(() => {
  describe("devicePut", () => {
    test.each([
      [
        ["data", "tensor"],
        [2, 2],
      ],
      [
        [null, ["tensor", "data"]],
        [4, 1],
      ],
      [[], [4, 6]],
    ] as const)("over %j gives parts of %j, and the same values", async (entries, shape) => {
      const y = devicePut(x, sharding(...(entries as unknown as string[])));
      expect(y.sharding?.mesh.toString()).toBe(mesh.toString());
      expect(y.addressableShards.map((shard) => shard.shape)).toEqual(new Array(6).fill(shape));
      expect(await y.data()).toEqual(await x.data());
      expect(y.dataSync()).toEqual(x.dataSync());
    });

    test("gives each device its part", async () => {
      const y = devicePut(x, sharding("data", "tensor"));
      const parts = await Promise.all(
        y.addressableShards.map(async ({ data }) => [...new Float32Array((await data()).slice().buffer)]),
      );
      expect(parts[0]).toEqual([0, 1, 6, 7]);
      expect(parts[5]).toEqual([16, 17, 22, 23]);
    });

    test("of what lies over another mesh", async () => {
      const other = new NamedSharding(new Mesh({ all: 4 }), new PartitionSpec("all"));
      const y = devicePut(devicePut(x, sharding(null, "tensor")), other);
      expect(String(y.sharding?.mesh)).toBe("Mesh(all=4)");
      expect(await y.data()).toEqual(await x.data());
    });

    test("gives what computes outside of a mesh too", async () => {
      const y = devicePut(x, sharding("data"));
      expect(await y.add(1).sum().item()).toBe(300);
    });

    test("refuses what is no sharding, and what does not divide", () => {
      expectError("option", /sharding must be a NamedSharding/, () => devicePut(x, "data" as never));
      expectError("shape", /dimension 0 of float32\[4,6\] is split into 3 parts.*Use 3 or 6/, () =>
        devicePut(x, sharding("tensor")),
      );
    });
  });

  describe("jit", () => {
    const f = (x: Tensor, w: Tensor) => ({ y: x.matmul(w), sum: w.sum() });
    const w = tensor(new Float32Array(36).fill(0.5), { shape: [6, 6] });

    test("puts arguments and results where their shardings say", async () => {
      const split = jit(f, {
        inShardings: [sharding("data"), sharding(null, "tensor")],
        outShardings: { y: sharding(null, "tensor"), sum: null },
      });
      const { y, sum } = withMesh(mesh, () => split(x, w));
      expect([specOf(y), specOf(sum)]).toEqual(['PartitionSpec(null, "tensor")', "PartitionSpec()"]);
      expect(await y.data()).toEqual(await f(x, w).y.data());
    });

    test("leaves alone what lies there already", () => {
      withMesh(mesh, () => {
        const there = devicePut(x, sharding("data"));
        const same = jit((x: Tensor) => x, { inShardings: [sharding("data")] });
        expect(specOf(same(there))).toBe('PartitionSpec("data", null)');
        expect(sharding("data").place(there)).toBe(there);
        expect(sharding("data", null).place(x)).not.toBe(x);
      });
    });

    test("gradients lie where sums need not be sent twice", async () => {
      await withMesh(mesh, async () => {
        const [xs, ws] = [devicePut(x, sharding("data")), devicePut(w, sharding(null, "tensor"))];
        const loss = (w: Tensor, x: Tensor) => {
          const y = x.matmul(w);
          return y.mul(y).sum();
        };
        const program = makePartitioned(grad(loss))(ws, xs);
        expect(program.collectives().map(({ kind, axes, bytes }) => [kind, axes, bytes])).toEqual([
          ["all_reduce", ["data"], 6 * 2 * 4],
        ]);
        expect(await jit(grad(loss))(ws, xs).data()).toEqual(await grad(loss)(w, x).data());
      });
    });

    test("donated memory of all parts ends with the call", () => {
      withMesh(mesh, () => {
        const there = devicePut(x, sharding("data"));
        const y = jit((x: Tensor) => x.add(1), { donateArgnums: [0] })(there);
        expect(specOf(y)).toBe('PartitionSpec("data", null)');
        expectError("disposed", /it was donated to a jit call/, () => there.add(1));
      });
    });

    test("refuses shardings that do not fit", () => {
      const call = (options: object) => () => withMesh(mesh, () => jit(f, options)(x, w));
      expectError("option", /inShardings must be an array/, call({ inShardings: sharding() }));
      expectError("option", /inShardings has 3 items/, call({ inShardings: [null, null, null] }));
      expectError("option", /outShardings names z, which is not there/, call({ outShardings: { z: sharding() } }));
      expectError("option", /outShardings must hold shardings/, call({ outShardings: "data" }));
      expectError("state", /the mesh of the shardings must be the active one/, () =>
        jit(f, { inShardings: [sharding("data")] })(x, w),
      );
    });
  });
});

test("a process that was started alone is alone", () => {
  expect([processIndex(), processCount()]).toEqual([0, 1]);
});

test("a partitioned program as text", () => {
  const small = new Mesh({ data: 2 });
  const text = withMesh(small, () =>
    String(
      makePartitioned((x: Tensor) => x.exp().sum())(devicePut(x, new NamedSharding(small, new PartitionSpec("data")))),
    ),
  );
  expect(text).toBe(`program over Mesh(data=2) (%0: float32[4,6][data,-]) {
  %1: float32[4,6][data,-] = exp(%0)
  %2: float32[][] sum over data = reduce_sum(%1) {"axes":[0,1],"keepDims":false}
  %3: float32[][] = all_reduce[sum over data](%2)
  return %3
}`);
  expectError("state", /a mesh of several devices must be active/, () => makePartitioned((x: Tensor) => x)(x));
});
