/** What devices exchange in a train step of a layer: kinds, counts and bytes are those of closed formulas. */
import { DelayedScaling, fp8Autocast } from "@te/fp8";
import { globalNorm } from "@te/optim";
import {
  type Collective,
  Mesh,
  MeshResource,
  makePartitioned,
  PartitionSpec,
  withShardingConstraint,
} from "@te/sharding";
import { jit, random, type Tensor, tree, valueAndGrad } from "@te/tensor";
import { errorN, normals } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { TransformerLayer } from "../src/index.js";
import { PARALLELISMS, under } from "./mesh-setup.js";

const [BATCH, LENGTH, HIDDEN, MLP] = [4, 32, 64, 256];
const ITEM = 4;
const TOKENS = BATCH * LENGTH;

/** Bytes of the kernels of a layer, in float32: qkv, out, wi, wo. */
const KERNELS = [3 * HIDDEN * HIDDEN, HIDDEN * HIDDEN, HIDDEN * MLP, MLP * HIDDEN].map((n) => n * ITEM);
const SCALES = 2 * HIDDEN * ITEM;
const LOSS = ITEM;
const ACTIVATION = TOKENS * HIDDEN * ITEM;

/** The collectives of a step that gives the loss and the gradients of all parameters, and of x where `input` says so. */
function collectivesOf(
  name: string,
  { input = false, layers = 1, fp8 = false, dropout = false } = {},
): readonly Collective[] {
  const parallelism = PARALLELISMS.find((each) => each.name === name)!;
  const options = {
    hiddenSize: HIDDEN,
    mlpHiddenSize: MLP,
    numAttentionHeads: 4,
    hiddenDropout: dropout ? 0.1 : 0,
    intermediateDropout: dropout ? 0.1 : 0,
    attentionDropout: dropout ? 0.1 : 0,
    enableRelativeEmbedding: false,
    layernormType: "rmsnorm",
    selfAttnMaskType: "causal",
    mlpActivations: ["gelu"],
    enableSequenceParallel: parallelism.sequence,
  } as const;
  const stack = Array.from({ length: layers }, () => new TransformerLayer(options));
  const x = normals([BATCH, LENGTH, HIDDEN]);
  const g = normals([BATCH, LENGTH, HIDDEN], { seed: "g" });
  return under(parallelism, () => {
    const build = () => {
      const variables: any[] = stack.map((layer, i) => layer.init(random.key(i), x, { deterministic: true }));
      const rngs = { dropout: random.key(9) };
      const loss = (variables: any[], x: Tensor): Tensor =>
        stack
          .reduce((y, layer, i) => layer.apply(variables[i], y, { rngs }) as Tensor, x)
          .mul(g)
          .sum();
      const step = valueAndGrad(loss, { argnums: input ? [0, 1] : [0] }) as (variables: any[], x: Tensor) => unknown;
      return makePartitioned(step)(variables, x).collectives();
    };
    return fp8 ? fp8Autocast({ enabled: true, fp8Recipe: new DelayedScaling() }, build) : build();
  });
}

/** Bytes by kind and axes, the largest first. */
function summary(collectives: readonly Collective[]): Record<string, number[]> {
  const found: Record<string, number[]> = {};
  for (const { kind, axes, bytes } of collectives) {
    const key = `${kind} ${axes.join(" ")}`;
    found[key] = [...(found[key] ?? []), bytes];
  }
  for (const list of Object.values(found)) list.sort((a, b) => b - a);
  return found;
}

const sorted = (list: readonly number[]): number[] => [...list].sort((a, b) => b - a);
const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);

describe("a layer exchanges", () => {
  test("dp: the gradients of its parameters and the loss, once", () => {
    expect(summary(collectivesOf("dp2"))).toEqual({ "all_reduce data": [sum(KERNELS) + SCALES + LOSS] });
  });

  test("tp: the results of both row products, and the gradients of both column products", () => {
    const activations = new Array(4).fill(ACTIVATION);
    expect(summary(collectivesOf("tp2", { input: true }))).toEqual({ "all_reduce tensor": activations });
  });

  test("tpsp: the same as a gather and a scatter each, and what only a part of the sequence gave", () => {
    const activations = new Array(4).fill(ACTIVATION);
    expect(summary(collectivesOf("tpsp2", { input: true }))).toEqual({
      "all_gather tensor": activations,
      "reduce_scatter tensor": activations,
      "all_reduce tensor": [SCALES + LOSS],
    });
  });

  test.each(PARALLELISMS.map(({ name }) => name))("%s: no more where it drops elements and weights", (name) => {
    const [without, with_] = [false, true].map((dropout) => {
      const found = summary(collectivesOf(name, { input: true, dropout }));
      // With more ops in between, a kernel may be gathered again for the backward pass.
      return { ...found, "all_gather fully": sorted([...new Set(found["all_gather fully"])]) };
    });
    expect(with_).toEqual(without);
  });

  test("fsdp: each kernel before its use, and its gradient", () => {
    expect(summary(collectivesOf("fsdp2"))).toMatchObject({
      "reduce_scatter fully": sorted(KERNELS),
      "all_reduce fully": [SCALES + LOSS],
    });
  });

  test("fsdp: kernels of layers far from their backward pass are gathered again", () => {
    const { "all_gather fully": gathered } = summary(collectivesOf("fsdp2", { layers: 4 }));
    const count = (bytes: number): number => gathered!.filter((each) => each === bytes).length;
    const [qkv, out] = [KERNELS[0]!, KERNELS[1]!];
    expect([count(qkv), count(out)]).toEqual([8, 8]);
  });

  test("dp and tp: either on its own axis", () => {
    const halves = sum(KERNELS) / 2 + SCALES + LOSS;
    const both = summary(collectivesOf("dp2 x tp2"));
    expect(Object.keys(both).sort()).toEqual(["all_reduce data", "all_reduce tensor"]);
    expect(both["all_reduce data"]).toEqual([halves]);
    expect(both["all_reduce tensor"]).toEqual(new Array(4).fill(ACTIVATION / 2));
  });

  test("FP8: amaxes in one message, and weights and activations as FP8 bytes", () => {
    const fully = summary(collectivesOf("fsdp2", { fp8: true }));
    expect(fully["all_reduce fully"]).toContain(12 * ITEM);
    expect(sorted([...new Set(fully["all_gather fully"])])).toEqual(sorted([...new Set(KERNELS.map((n) => n / ITEM))]));
    const sequence = summary(collectivesOf("tpsp2", { fp8: true }));
    expect(sequence["all_gather tensor"]!.filter((bytes) => bytes === ACTIVATION / ITEM)).toHaveLength(4);
  });
});

test("a constraint that splits what waits for a sum scatters it", () => {
  const parallelism = { name: "", mesh: new Mesh({ tensor: 2 }), resource: new MeshResource(), sequence: false };
  const [x, w] = [normals([8, 6]), normals([6, 4])];
  under(parallelism, () => {
    const split = (spec: PartitionSpec) =>
      makePartitioned((x: Tensor, w: Tensor) => {
        const [a, b] = [
          withShardingConstraint(x, new PartitionSpec(null, "tensor")),
          withShardingConstraint(w, new PartitionSpec("tensor")),
        ];
        return withShardingConstraint(a.matmul(b), spec);
      })(x, w)
        .collectives()
        .map(({ kind, bytes, sent }) => ({ kind, bytes, sent }));
    const bytes = 8 * 4 * ITEM;
    expect(split(new PartitionSpec("tensor"))).toEqual([{ kind: "reduce_scatter", bytes, sent: bytes / 2 }]);
    expect(split(new PartitionSpec())).toEqual([{ kind: "all_reduce", bytes, sent: bytes }]);
  });
});

describe("partial sums wait through additions", () => {
  const mesh = new Mesh({ data: 2, tensor: 2 });
  const over = <R>(body: () => R): R => under({ name: "", mesh, resource: new MeshResource(), sequence: false }, body);
  const spec = (...entries: (string | null)[]) => new PartitionSpec(...entries);
  const [x, w, bias] = [normals([8, 6]), normals([6, 4]), normals([4])];
  const bytes = 8 * 4 * ITEM;

  /** x · w, summed over parts of what is contracted. */
  const product = (x: Tensor, w: Tensor): Tensor =>
    withShardingConstraint(x, spec(null, "tensor")).matmul(withShardingConstraint(w, spec("tensor")));
  const exchanged = (f: (...xs: any[]) => unknown, ...xs: Tensor[]) => makePartitioned(f)(...xs).collectives();
  const kinds = (collectives: readonly Collective[]) =>
    collectives.map(({ kind, axes, bytes }) => `${kind} ${axes.join(" ")} ${bytes}`);

  test("of a bias, and are scattered where a part is wanted", () => {
    const biased = (x: Tensor, w: Tensor, b: Tensor) => withShardingConstraint(product(x, w).add(b), spec("tensor"));
    const twice = (x: Tensor, w: Tensor, b: Tensor) =>
      withShardingConstraint(product(x, w).add(b).reshape([2, 4, 4]).sub(b).reshape([8, 4]), spec("tensor"));
    over(() => {
      expect(kinds(exchanged(biased, x, w, bias))).toEqual([`reduce_scatter tensor ${bytes}`]);
      expect(kinds(exchanged(twice, x, w, bias))).toEqual([`reduce_scatter tensor ${bytes}`]);
    });
  });

  test("of other partial sums, so that all of them are one", () => {
    const sums = (x: Tensor, w: Tensor, b: Tensor) => product(x, w).sub(product(x.tanh(), w)).add(b).exp();
    over(() => expect(kinds(exchanged(sums, x, w, bias))).toEqual([`all_reduce tensor ${bytes}`]));
  });

  test("not where there would be more to exchange", () => {
    const total = (x: Tensor) => withShardingConstraint(x, spec(null, "tensor")).sum();
    const repeated = (x: Tensor) => total(x).add(x).exp();
    over(() => expect(kinds(exchanged(repeated, x))).toEqual([`all_reduce tensor ${ITEM}`]));
  });

  test("not where others read what is to be combined", () => {
    const shared = (x: Tensor, w: Tensor) => {
      const y = product(x, w);
      return y
        .add(x.slice([0, 0], [8, 4]))
        .exp()
        .add(y.tanh());
    };
    over(() => expect(kinds(exchanged(shared, x, w))).toEqual([`all_reduce tensor ${bytes}`]));
  });

  test("values are those of one device", () => {
    const f = (x: Tensor, w: Tensor, b: Tensor) => {
      const y = withShardingConstraint(product(x, w).add(b), spec("tensor"));
      return product(x, w).add(b).sub(product(x.tanh(), w)).neg().add(y).add(w.sum());
    };
    const gradients = (x: Tensor, w: Tensor, b: Tensor) =>
      valueAndGrad((...xs: Tensor[]) => f(xs[0]!, xs[1]!, xs[2]!).pow(2).sum(), { argnums: [0, 1, 2] })(x, w, b);
    const [split, whole] = [over(() => jit(gradients)(x, w, bias)), jit(gradients)(x, w, bias)].map((result) =>
      tree.leaves(result).map((leaf) => (leaf as Tensor).dataSync()),
    );
    split!.forEach((values, i) => expect(errorN(values, whole![i]!)).toBeLessThan(1e-6));
  });

  test("the norm of all gradients of a layer is one message more", () => {
    const parallelism = PARALLELISMS.find(({ name }) => name === "fsdp2 x tpsp2")!;
    const layer = new TransformerLayer({
      hiddenSize: HIDDEN,
      mlpHiddenSize: MLP,
      numAttentionHeads: 4,
      hiddenDropout: 0,
      attentionDropout: 0,
      useBias: true,
      enableSequenceParallel: true,
    });
    const x = normals([BATCH, LENGTH, HIDDEN]);
    under(parallelism, () => {
      const variables = layer.init(random.key(0), x, { deterministic: true }) as { params: any };
      const loss = (params: any) => (layer.apply({ params }, x, { deterministic: true }) as Tensor).pow(2).mean();
      const collectives = (norm: boolean) =>
        makePartitioned((params: any): any => {
          const [value, grads] = valueAndGrad(loss)(params);
          return norm ? [value, grads, globalNorm(grads as never)] : [value, grads];
        })(variables.params).collectives();
      const [without, with_] = [summary(collectives(false)), summary(collectives(true))];
      const key = "all_reduce fully tensor";
      expect(with_[key]!.filter((bytes) => bytes === ITEM)).toHaveLength(1);
      expect(with_).toEqual({ ...without, [key]: sorted([...(without[key] ?? []), ITEM]) });
    });
  });
});
