/** Dropout over meshes: what is dropped depends on no mesh, and calls with dropout are split as those without. */
import { Dropout } from "@te/layers";
import { devicePut, Mesh, MeshResource, makePartitioned, NamedSharding, PartitionSpec } from "@te/sharding";
import { jit, random, type Tensor, tensor, tree, valueAndGrad, vjp, zeros } from "@te/tensor";
import { findBitDifference, normals, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { type AttentionOptions, attention } from "../src/ops/attention.js";
import { under } from "./mesh-setup.js";

const [BATCH, LENGTH, HEADS, GROUPS] = [4, 12, 8, 4];
const key = random.key(5);
const mesh = new Mesh({ a: 2, b: 2 });

type Entries = readonly (string | readonly string[] | null)[];
const over = <R>(body: () => R): R => under({ name: "", mesh, resource: new MeshResource(), sequence: false }, body);
const put = (x: Tensor, entries: Entries): Tensor =>
  devicePut(x, new NamedSharding(mesh, new PartitionSpec(...(entries as string[]))));

/** How [batch, sequence, heads, depth] lies over the mesh. */
const LAYOUTS: Readonly<Record<string, Entries>> = {
  "the batch": ["a"],
  "groups of heads": [null, null, "b"],
  "batch and groups of heads": ["a", null, "b"],
  "groups of heads, by two axes": [null, null, ["b", "a"]],
};

const OPTIONS: Readonly<Record<string, AttentionOptions>> = {
  plain: { dropout: 0.3 },
  "causal, in a window": { dropout: 0.5, causal: true, windowLeft: 5 },
  "sequence first": { dropout: 0.3, layout: "sbhd" },
};

const wire = <T>([batch, length, ...rest]: readonly T[], { layout }: AttentionOptions): T[] =>
  layout === "sbhd" ? [length!, batch!, ...rest] : [batch!, length!, ...rest];

type Operands = { q: Tensor; k: Tensor; v: Tensor };

function operands(options: AttentionOptions): Operands {
  const of = (heads: number, seed: string) => normals(wire([BATCH, LENGTH, heads, 8], options), { seed });
  return { q: of(HEADS, "q"), k: of(GROUPS, "k"), v: of(GROUPS, "v") };
}

/** out, and the gradients of q, k and v. */
const step = (options: AttentionOptions) => (x: Operands, g: Tensor) => {
  const [out, pull] = vjp((x: Operands) => attention({ ...x, key }, options), x);
  return [out, ...(pull(g) as [Operands])];
};

/** Weights that are all 1/keys, times a value that tells the keys apart: the kept weights, bit by bit. */
const kept = ({ q, k, v }: Operands) => attention({ q, k, v, key }, { dropout: 0.4, scale: 1 });

onEachDevice(() => {
  describe.each(Object.entries(LAYOUTS))("attention that drops weights, split along %s", (_, entries) => {
    test.each(Object.entries(OPTIONS))(
      "%s: nothing is exchanged, and the bits are those of one device",
      (_, options) => {
        const x = operands(options);
        const whole = tree.leaves(jit(step(options))(x, x.q)) as Tensor[];
        over(() => {
          const at = wire([...entries, null, null, null].slice(0, 4), options);
          const split = tree.map((leaf: Tensor) => put(leaf, at), x);
          expect(makePartitioned(step(options))(split, split.q).collectives()).toEqual([]);
          const parts = tree.leaves(jit(step(options))(split, split.q)) as Tensor[];
          expect(parts).toHaveLength(4);
          parts.forEach((part, i) => expect(findBitDifference(part, whole[i]!), `result ${i}`).toBeUndefined());
        });
      },
    );
  });

  test.each([
    ["queries", [null, "a"], [null]],
    ["queries, batch and heads", ["b", "a"], ["b"]],
    ["queries and keys", [null, "a", "b"], [null, "a", "b"]],
  ] as const)("attention drops the same weights where %s are split", (_, queries, keys) => {
    const [q, k] = [zeros([BATCH, LENGTH, HEADS, 2]), zeros([BATCH, LENGTH, GROUPS, 2])];
    const places = Float32Array.from({ length: LENGTH * LENGTH }, (_, i) => (i % (LENGTH + 1) === 0 ? 1 : 0));
    const v = tensor(places, { shape: [1, LENGTH, 1, LENGTH] }).broadcastTo([BATCH, LENGTH, GROUPS, LENGTH]);
    const whole = kept({ q, k, v });
    expect(new Set(whole.dataSync()).size, "some are dropped, some are not").toBe(2);
    over(() => {
      const split = { q: put(q, queries), k: put(k, keys), v: put(v, keys) };
      expect(findBitDifference(jit(kept)(split), whole)).toBeUndefined();
    });
  });

  test.each([
    [["a"], []],
    [[null, "b"], [0]],
    [["b", null, "a"], [1]],
    [[["b", "a"], null, null], [-1]],
  ] as [Entries, number[]][])("Dropout over %j with broadcast dims %j", (entries, broadcastDims) => {
    const module = new Dropout({ rate: 0.4, broadcastDims });
    const call = (x: Tensor): Tensor => module.apply({}, x, { rngs: { dropout: key } });
    const loss = valueAndGrad((x: Tensor) => call(x).pow(2).sum());
    const x = normals([4, 6, 10]);
    const whole = [call(x), loss(x)[1]] as Tensor[];
    over(() => {
      const split = put(x, entries);
      expect(makePartitioned(call)(split).collectives()).toEqual([]);
      expect(findBitDifference(jit(call)(split), whole[0]!)).toBeUndefined();
      expect(findBitDifference(jit(loss)(split)[1] as Tensor, whole[1]!)).toBeUndefined();
    });
  });
});
