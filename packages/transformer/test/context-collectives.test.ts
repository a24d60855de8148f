/** What devices exchange in context-parallel attention and its backward pass: kinds, counts and bytes are closed formulas. */
import { makePartitioned } from "@te/sharding";
import { random, type Tensor, valueAndGrad, vjp } from "@te/tensor";
import { normals } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { DotProductAttention, TransformerLayer } from "../src/index.js";
import { CONTEXTS } from "./context-meshes.js";
import { under } from "./mesh-setup.js";

const [BATCH, LENGTH, HEADS, GROUPS, DEPTH] = [2, 32, 4, 2, 8];

/** Kinds with the bytes of each, for the context axis alone: nothing else may be exchanged. */
function exchanged(name: string, options: object, dtype: "float32" | "bfloat16" = "float32"): Record<string, number[]> {
  const over = CONTEXTS.find((each) => each.name === name)!;
  const of = (heads: number) => normals([BATCH, LENGTH, heads, DEPTH], { dtype });
  const found: Record<string, number[]> = {};
  under(over, () => {
    const layer = new DotProductAttention({
      headDim: DEPTH,
      numAttentionHeads: HEADS,
      numGqaGroups: GROUPS,
      ...options,
    });
    const step = (q: Tensor, k: Tensor, v: Tensor, g: Tensor): unknown => {
      const [y, pull] = vjp((q: Tensor, k: Tensor, v: Tensor) => layer.apply({}, q, k, v) as Tensor, q, k, v);
      return [y, pull(g)];
    };
    const program = makePartitioned(step)(of(HEADS), of(GROUPS), of(GROUPS), of(HEADS));
    for (const { kind, axes, bytes } of program.collectives()) {
      expect(axes).toEqual(["context"]);
      found[kind] = [...(found[kind] ?? []), bytes];
    }
  });
  return found;
}

const times = (n: number, bytes: number): number[] => new Array(n).fill(bytes);

describe.each([
  ["cp2", 2, 1],
  ["cp4", 4, 1],
  ["dp2 x cp2", 2, 2],
  ["tp2 x cp2", 2, 2],
] as const)("%s", (name, n, others) => {
  /** Bytes of keys, or of values, of all devices along the axis. */
  const all = (BATCH * LENGTH * GROUPS * DEPTH * 4) / others;

  describe.each([false, true])("balanced: %s", (contextParallelCausalLoadBalanced) => {
    test("all-gather: keys and values in both passes, and their gradients scattered", () => {
      const options = { contextParallelStrategy: "ALL_GATHER", contextParallelCausalLoadBalanced };
      expect(exchanged(name, options)).toEqual({ all_gather: times(4, all), reduce_scatter: times(2, all) });
    });

    test("ring: keys and values go to all others in both passes, and their gradients home", () => {
      const options = { contextParallelStrategy: "RING", contextParallelCausalLoadBalanced };
      const passes = 2 * 2 * (n - 1) + 2 * n;
      expect(exchanged(name, options)).toEqual({ ppermute: times(passes, all / n) });
    });
  });
});

test("in the ring gradients travel in float32, keys and values as they are", () => {
  const part = (BATCH * LENGTH * GROUPS * DEPTH * 2) / 2;
  const { ppermute } = exchanged("cp2", { contextParallelStrategy: "RING" }, "bfloat16");
  expect([...ppermute!].sort((a, b) => a - b)).toEqual([...times(4, part), ...times(4, 2 * part)]);
});

test("a layer exchanges keys and values, and what parameters get from each part", () => {
  const [hidden, mlp] = [HEADS * DEPTH, 64];
  const over = CONTEXTS.find(({ name }) => name === "cp4")!;
  const layer = new TransformerLayer({
    hiddenSize: hidden,
    mlpHiddenSize: mlp,
    numAttentionHeads: HEADS,
    numGqaGroups: GROUPS,
    layernormType: "rmsnorm",
    hiddenDropout: 0,
    attentionDropout: 0,
    enableRelativeEmbedding: false,
    enableRotaryPosEmb: true,
    contextParallelStrategy: "RING",
    contextParallelCausalLoadBalanced: true,
  });
  const x = normals([BATCH, LENGTH, hidden]);
  under(over, () => {
    const { params } = layer.init(random.key(0), x) as { params: any };
    const step = valueAndGrad((params: any, x: Tensor) => (layer.apply({ params }, x) as Tensor).mul(x).sum());
    const all = makePartitioned(step)(params, x).collectives();
    const kernels = hidden * (hidden + 2 * GROUPS * DEPTH + hidden) + 2 * hidden * mlp;
    const bytes = (kind: string) => all.filter((each) => each.kind === kind).map((each) => each.bytes);
    expect([...new Set(all.map(({ kind }) => kind))].sort()).toEqual(["all_reduce", "ppermute"]);
    // Keys and values are packed in one tensor here.
    expect(bytes("ppermute")).toEqual(times(2 * 3 + 4, (BATCH * LENGTH * 2 * GROUPS * DEPTH * 4) / 4));
    expect(bytes("all_reduce").reduce((a, b) => a + b)).toBe((kernels + 2 * hidden + 1) * 4);
  });
});
