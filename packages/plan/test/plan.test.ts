/** Plans against what partitioned programs and devices do, and against closed formulas. */
import "@te/kernels-cpu";
import { LayerNormMLP } from "@te/layers";
import {
  BATCH_AXES,
  devicePut,
  globalShardGuard,
  Mesh,
  MeshResource,
  makePartitioned,
  NamedSharding,
  PartitionSpec,
  W_FSDP_AXES,
  W_TP_AXES,
  withMesh,
  withShardingConstraintByLogicalAxes,
} from "@te/sharding";
import { currentBackend, dot, jit, memory, random, type Tensor, tree, valueAndGrad, zeros } from "@te/tensor";
import { describe, expect, it } from "vitest";
import {
  abstractTensor,
  abstractTree,
  type ModelSize,
  makePlanned,
  type Plan,
  plan,
  planModel,
  planPartitioned,
  type Training,
  trainingStep,
} from "../src/index.js";

const TINY: ModelSize = {
  name: "tiny",
  source: "none",
  layers: 2,
  hiddenSize: 64,
  mlpHiddenSize: 128,
  heads: 4,
  groups: 2,
  vocabulary: 96,
  sequence: 32,
  style: "llama",
};

const training: Training = { batch: 8, checkpoint: false, sequenceParallel: false };

const sums = (of: readonly { kind: string; axes: readonly string[]; bytes: number; sent: number }[]) => {
  const found: Record<string, { bytes: number; sent: number }> = {};
  for (const { kind, axes, bytes, sent } of of) {
    const key = `${kind} ${axes.join(" ")}`;
    const sum = found[key] ?? { bytes: 0, sent: 0 };
    found[key] = sum;
    sum.bytes += bytes;
    sum.sent += sent;
  }
  return found;
};

describe("bytes of collectives", () => {
  const meshes = [
    [{ data: 4 }, { dpResource: "data" }],
    [{ fsdp: 4 }, { fsdpResource: "fsdp" }],
    [
      { data: 2, tensor: 2 },
      { dpResource: "data", tpResource: "tensor" },
    ],
    [
      { fsdp: 2, tpsp: 2 },
      { fsdpResource: "fsdp", tpspResource: "tpsp" },
    ],
  ] as const;

  it.each(meshes)("are those of the partitioned program over %o, and reach the nodes that are timed", (shape, of) => {
    const [mesh, resource] = [new Mesh(shape), new MeshResource(of)];
    const { step, args } = trainingStep(TINY, { ...training, sequenceParallel: "tpspResource" in of });
    const options = { mesh, resource, donateArgnums: [0] };
    const partitioned = makePlanned(step, args, options);
    const planned = planPartitioned(partitioned, args, options);
    expect(sums(planned.traffic)).toEqual(sums(partitioned.collectives()));
    expect(Object.keys(sums(planned.traffic)).length).toBeGreaterThan(0);
    expect(planned.time.communication).toBeGreaterThan(0);
  });

  it("are those of the program that runs for parameters which init split", () => {
    const mesh = new Mesh({ fsdp: 2, tensor: 2 });
    const resource = new MeshResource({ fsdpResource: "fsdp", tpResource: "tensor" });
    const mlp = new LayerNormMLP({
      intermediateDim: 32,
      kernelAxes1: [W_FSDP_AXES, null, W_TP_AXES],
      kernelAxes2: [W_TP_AXES, W_FSDP_AXES],
    });
    const loss = valueAndGrad((params: Tree, x: Tensor) =>
      (mlp.apply({ params } as never, splitBatch(x))[0] as Tensor).sum(),
    );
    const [real, x] = withMesh(mesh, () =>
      globalShardGuard(resource, () => {
        const x = devicePut(zeros([8, 16]), new NamedSharding(mesh, new PartitionSpec("fsdp")));
        return [mlp.init(random.key(0), x).params, x] as const;
      }),
    );
    const run = withMesh(mesh, () => globalShardGuard(resource, () => makePartitioned(loss)(real as never, x)));
    const planned = plan(loss, [abstractTree(real) as never, abstractTensor([8, 16])], { mesh, resource });
    expect(planned.traffic.length).toBeGreaterThan(0);
    expect(sums(planned.traffic)).toEqual(sums(run.collectives()));
  });

  it("of data parallelism are one all-reduce of the gradients, as large as the parameters", () => {
    const mesh = new Mesh({ data: 4 });
    const grad = valueAndGrad((w: Tensor, x: Tensor) => dot(x, w).sum());
    const args: [Tensor, Tensor] = [abstractTensor([16, 24]), abstractTensor([32, 16])];
    const constrained = (w: Tensor, x: Tensor) => grad(w, splitBatch(x));
    const { traffic } = plan(constrained, args, { mesh, resource: new MeshResource({ dpResource: "data" }) });
    const gradients = 16 * 24 * 4;
    const loss = 4;
    expect(traffic).toMatchObject([{ kind: "all_reduce", axes: ["data"], bytes: gradients + loss }]);
    expect(traffic[0]!.sent).toBe((2 * (gradients + loss) * 3) / 4);
  });

  it("of tensor parallelism are one all-reduce of a layer's result in each pass of two products", () => {
    const mesh = new Mesh({ tensor: 4 });
    const resource = new MeshResource({ tpResource: "tensor" });
    const size = { ...TINY, groups: 4 };
    const bytes = (layers: number): number => {
      const { step, args } = trainingStep({ ...size, layers }, training);
      const { traffic } = plan(step, args, { mesh, resource });
      return traffic
        .filter(({ kind, axes }) => kind === "all_reduce" && axes[0] === "tensor")
        .reduce((n, t) => n + t.bytes, 0);
    };
    const activation = training.batch * size.sequence * size.hiddenSize * 2;
    // Attention and MLP, forward and backward; what is left are sums for the norm of the gradients.
    const own = bytes(3) - bytes(2);
    expect(own).toBeGreaterThanOrEqual(4 * activation);
    expect(own).toBeLessThan(4 * activation + 128);
  });
});

type Tree = Record<string, Tensor>;

/** x, with its first dimension split over the axis for data. */
function splitBatch(x: Tensor): Tensor {
  return withShardingConstraintByLogicalAxes(x, [BATCH_AXES, null]);
}

describe("peak memory", () => {
  const cases: readonly (readonly [Partial<ModelSize>, Partial<Training>])[] = [
    [{ layers: 2 }, { batch: 1, checkpoint: true }],
    [{}, { batch: 1, checkpoint: true }],
    [{}, { batch: 1 }],
    [{}, { batch: 3 }],
    [{ vocabulary: 1024 }, { batch: 3 }],
    [{ layers: 4 }, { batch: 3 }],
    [{ layers: 4, sequence: 256 }, { batch: 2 }],
    [{ layers: 4, sequence: 256, style: "gpt", groups: 4 }, { batch: 4 }],
  ];

  /** Large enough that the scratch of the CPU's kernels, which plans do not know, counts little. */
  const MEDIUM: ModelSize = {
    ...TINY,
    layers: 3,
    hiddenSize: 512,
    mlpHiddenSize: 2048,
    vocabulary: 512,
    sequence: 128,
  };

  /** Bytes of tensors and of the arena, which is as large as the largest so far: the plan of this step must be larger. */
  const used = (): number => memory().peak + memory().arena;

  it.each(cases)("is within 5 percent of what a device needs: %j, %j", async (size, how) => {
    const { step, args } = trainingStep({ ...MEDIUM, ...size }, { ...training, ...how });
    const options = { mesh: new Mesh({ data: 1 }), donateArgnums: [0] };
    const planned = plan(step, args, { ...options, kernels: currentBackend() });
    const before = memory().live;
    const run = jit(step, { donateArgnums: [0] });
    const [first, tokens] = tree.map(
      (of: Tensor) => zeros(of.shape, { dtype: of.dtype }),
      args as never,
    ) as typeof args;
    let [state, loss] = run(first, tokens);
    currentBackend().resetPeak();
    [state, loss] = run(state, tokens);
    await loss.data();
    const needed = used() - before;
    expect(planned.memory.peak / needed).toBeGreaterThan(0.95);
    expect(planned.memory.peak / needed).toBeLessThan(1.05);
    for (const leaf of [...tree.leaves(state), tokens, loss]) leaf.dispose();
  });
});

describe("plans of models with many layers", () => {
  it.each([false, true])("are those of the whole model, checkpoint: %s", (checkpoint) => {
    const [mesh, resource] = [
      new Mesh({ fsdp: 2, tensor: 2 }),
      new MeshResource({ fsdpResource: "fsdp", tpResource: "tensor" }),
    ];
    const size = { ...TINY, layers: 9 };
    const how = { ...training, checkpoint };
    const { step, args } = trainingStep(size, how);
    const whole: Plan = plan(step, args, { mesh, resource, donateArgnums: [0] });
    const extended = planModel(size, { ...how, mesh, resource, hardware: "h100-sxm" });
    expect(sums(extended.traffic)).toEqual(sums(whole.traffic));
    expect(extended.flops).toBeCloseTo(whole.flops, -3);
    expect(extended.memory.parameters).toBe(whole.memory.parameters);
    expect(extended.memory.optimizer).toBe(whole.memory.optimizer);
    expect(extended.memory.peak / whole.memory.peak).toBeGreaterThan(0.95);
    expect(extended.memory.peak / whole.memory.peak).toBeLessThan(1.05);
    expect(extended.time.step / whole.time.step).toBeGreaterThan(0.97);
    expect(extended.time.step / whole.time.step).toBeLessThan(1.03);
  });
});
