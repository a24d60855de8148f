/** Functions of parts with collectives written by hand: values and gradients are those of the whole. */
import "@te/kernels-cpu";
import { grad, jit, type Tensor, tensor } from "@te/tensor";
import { expectError, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import {
  allGather,
  allToAll,
  axisIndex,
  Mesh,
  makePartitioned,
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

const mesh = new Mesh({ a: 2, b: 2 });
const line = new Mesh({ a: 4 });
const count = (shape: number[], scale = 1): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => (i + 1) * scale),
    { shape },
  );
const list = async (x: Tensor): Promise<number[]> => Array.from((await x.data()) as Float32Array);

onEachDevice(() => {
  const x = count([8]);
  const run = (f: (x: Tensor) => Tensor, out = new P("a")) =>
    list(shardMap(f, { mesh: line, inSpecs: new P("a"), outSpecs: out })(x));

  test.each<[string, (x: Tensor) => Tensor, P, number[]]>([
    ["psum", (x) => psum(x, "a"), new P(), [16, 20]],
    ["pmean", (x) => pmean(x, "a"), new P(), [4, 5]],
    ["pmax", (x) => pmax(x, "a"), new P(), [7, 8]],
    ["pmin", (x) => pmin(x, "a"), new P(), [1, 2]],
    ["axisIndex", (x) => x.mul(0).add(axisIndex("a").astype("float32")), new P("a"), [0, 0, 1, 1, 2, 2, 3, 3]],
    ["allGather", (x) => allGather(x, "a").sum(0), new P(), [16, 20]],
    ["allGather, tiled", (x) => allGather(x, "a", { tiled: true }), new P(), [1, 2, 3, 4, 5, 6, 7, 8]],
    [
      "psumScatter",
      (x) => psumScatter(x.reshape([2, 1]).broadcastTo([2, 4]), "a", { scatterDimension: 1 }),
      new P(),
      [16, 20],
    ],
    [
      "ppermute",
      (x) =>
        ppermute(x, "a", [
          [0, 1],
          [3, 0],
        ]),
      new P("a"),
      [7, 8, 1, 2, 0, 0, 0, 0],
    ],
  ])("%s", async (_, f, out, expected) => {
    expect(await run(f, out)).toEqual(expected);
  });

  test("allToAll moves the split from one dimension to another", async () => {
    const m = count([4, 4]);
    for (const tiled of [true, false]) {
      const f = (x: Tensor) =>
        tiled ? allToAll(x, "a", 1, 0, { tiled }) : allToAll(x, "a", 1, 1, { tiled }).transpose();
      const y = shardMap(f, { mesh: line, inSpecs: new P("a"), outSpecs: new P(null, "a") })(m);
      expect(await list(y)).toEqual(await list(m));
    }
  });

  describe("a product of a split sum", () => {
    const [xs, w] = [count([4, 6], 0.25), count([6, 2], 0.5)];
    const product = shardMap((x: Tensor, w: Tensor) => psum(x.matmul(w), "b"), {
      mesh,
      inSpecs: [new P("a", "b"), new P("b")],
      outSpecs: new P("a"),
    });
    const loss = (f: (x: Tensor, w: Tensor) => Tensor) => (x: Tensor, w: Tensor) => {
      const y = f(x, w);
      return y.mul(y).mean();
    };
    const whole = (x: Tensor, w: Tensor) => x.matmul(w);

    test("is that of the whole, eager and in jit", async () => {
      expect(await list(product(xs, w))).toEqual(await list(whole(xs, w)));
      expect(await list(withMesh(mesh, () => jit(product)(xs, w)))).toEqual(await list(whole(xs, w)));
    });

    test("and its gradients are", async () => {
      const both = (f: typeof whole) => grad(loss(f), { argnums: [0, 1] })(xs, w) as Tensor[];
      const [expected, found] = [both(whole), withMesh(mesh, () => both(product))];
      for (const i of [0, 1]) expect(await list(found[i]!)).toEqual(await list(expected[i]!));
    });

    test("sends what it says", () => {
      const { collectives } = withMesh(mesh, () => {
        const program = makePartitioned(product)(xs, w);
        return { collectives: program.collectives() };
      });
      expect(collectives).toEqual([
        { kind: "all_reduce", axes: ["b"], devices: 2, bytes: 16, sent: 16, for: "shard_map" },
      ]);
    });
  });

  test.each<[string, (x: Tensor) => Tensor, P]>([
    [
      "allGather",
      (x) =>
        allGather(x, "a", { tiled: true })
          .mul(count([8]))
          .sum()
          .reshape([1])
          .mul(x.sum()),
      new P("a"),
    ],
    [
      "psumScatter",
      (x) => psumScatter(allGather(x, "a", { tiled: true }).mul(x.sum()), "a", { tiled: true }),
      new P("a"),
    ],
    [
      "ppermute",
      (x) =>
        ppermute(x, "a", [
          [0, 1],
          [1, 3],
          [2, 0],
        ]).mul(x),
      new P("a"),
    ],
    ["pmean", (x) => pmean(x.mul(x), "a"), new P()],
    [
      "allToAll",
      (x) =>
        allToAll(x.reshape([2, 1]).mul(count([1, 4])), "a", 1, 0, { tiled: true })
          .reshape([8])
          .mul(x.sum()),
      new P("a"),
    ],
    ["a closure", (x) => x.mul(count([2], 3)).mul(x), new P("a")],
  ])("gradient of %s is that of finite differences", async (_, f, out) => {
    const g = shardMap(f, { mesh: line, inSpecs: new P("a"), outSpecs: out });
    const loss = (x: Tensor) => {
      const y = g(x);
      return y
        .mul(y.add(1))
        .mul(1 / 1024)
        .sum();
    };
    await withMesh(line, async () => {
      const found = await list(grad(loss)(x));
      for (let i = 0; i < 8; i++) {
        const at = (by: number) =>
          list(loss(x.add(tensor(Float32Array.from({ length: 8 }, (_, k) => (k === i ? by : 0))))));
        const [[high], [low]] = [await at(1 / 16), await at(-1 / 16)];
        const difference = (high! - low!) * 8;
        expect(Math.abs(found[i]! - difference)).toBeLessThan(0.01 * Math.abs(difference) + 0.05);
      }
    });
  });
});

test("one device exchanges with itself", async () => {
  const one = new Mesh({ a: 1 });
  const f = shardMap((x: Tensor) => psum(allGather(x, "a", { tiled: true }), "a"), {
    mesh: one,
    inSpecs: new P("a"),
    outSpecs: new P(),
  });
  expect(await list(f(count([3])))).toEqual([1, 2, 3]);
});

test("refuses what does not fit", () => {
  const of =
    (f: (x: Tensor) => Tensor, inSpecs: never | P = new P("a")) =>
    () =>
      shardMap(f, { mesh: line, inSpecs, outSpecs: new P("a") })(count([6]));
  expectError(
    "shape",
    /dimension 0 of float32\[6\] is split into 4 parts/,
    of((x) => x),
  );
  expectError(
    "option",
    /z is not an axis/,
    of((x) => x, new P("z")),
  );
  expectError(
    "option",
    /axes must be named, and be of Mesh\(a=4\)/,
    of((x) => psum(x, "z"), new P()),
  );
  expectError(
    "option",
    /a place must send once/,
    of(
      (x) =>
        ppermute(x, "a", [
          [0, 1],
          [0, 2],
        ]),
      new P(),
    ),
  );
  expectError(
    "shape",
    /must be a multiple of the 4 devices/,
    of((x) => psumScatter(x, "a", { tiled: true }), new P()),
  );
  expectError(
    "option",
    /inSpecs must have the structure/,
    of((x) => x, [] as never),
  );
  expectError("state", /between the parts of a function that shardMap calls/, () => psum(count([2]), "a"));
  expectError("unsupported", /it has no derivative/, () =>
    withMesh(line, () =>
      grad((x: Tensor) =>
        shardMap((x: Tensor) => pmax(x, "a"), { mesh: line, inSpecs: new P("a"), outSpecs: new P() })(x).sum(),
      )(count([8])),
    ),
  );
});
