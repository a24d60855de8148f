/** Joined nodes of optimizers, FP8 and small casts: the bits of the nodes one by one, in fewer launches. */
import "./emulated.js";
import "@te/kernels-cpu";
import { DelayedScaling, fp8Autocast, updateCollections } from "@te/fp8";
import { cudaAvailable, profile } from "@te/kernels-cuda";
import { DenseGeneral, type Variables } from "@te/layers";
import { adamw, applyUpdates, chain, clipByGlobalNorm } from "@te/optim";
import {
  currentBackend,
  type DType,
  jit,
  random,
  setDevice,
  square,
  type Tensor,
  tree,
  valueAndGrad,
} from "@te/tensor";
import { joinAdamwUpdates, joinSquareSums, registerBackend } from "@te/tensor/backend";
import { afterAll, describe, expect, test } from "vitest";
import { joinElementwise } from "../src/passes/join-elementwise.js";
import { joinScalingUpdates } from "../src/passes/scaling-updates.js";

const PASSES = [joinAdamwUpdates({ many: true }), joinScalingUpdates, joinSquareSums({ many: true }), joinElementwise];
const JOINS: readonly string[] = PASSES.map(({ name }) => name);

/** The GPU without the passes that join: the same in all else. */
registerBackend("cuda one by one", () => {
  setDevice("cuda");
  const cuda = currentBackend();
  const passes = cuda.passes!.filter(({ name }) => !JOINS.includes(name));
  return Object.assign(Object.create(cuda), { name: "cuda one by one", passes });
});
const DEVICES = ["cuda one by one", "cuda"] as const;

async function bitsOf(state: unknown): Promise<string[]> {
  const leaves = tree.leaves(state) as Tensor[];
  return Promise.all(
    leaves.map(async (leaf) => {
      const data = (await leaf.data()) as Float32Array;
      return `${leaf.dtype}[${leaf.shape}] ${Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64")}`;
    }),
  );
}

/** Shapes with a chunk and with several, and with elements behind the last eight. */
const SHAPES: Readonly<Record<string, readonly number[]>> = {
  a: [],
  b: [7],
  c: [3, 65],
  d: [130, 257],
  e: [0, 4],
  f: [64],
};

/** Three steps that minimize the distance to zero; gradients in float32 or narrower, of any of the shapes. */
async function optimize(device: string, dtype: DType, maxNorm: number, how: "jit" | "eager"): Promise<string[]> {
  setDevice(device);
  const names = Object.keys(SHAPES);
  let params = Object.fromEntries(
    names.map((name, i) => [name, random.normal(random.key(i), SHAPES[name]!).astype(dtype)]),
  );
  const decays = (of: Record<string, Tensor>) => tree.map((p) => (p as Tensor).rank > 1, of);
  const optimizer = chain(
    clipByGlobalNorm(maxNorm),
    adamw({ learningRate: 1e-2, weightDecay: 0.1, mask: decays, ...(dtype === "bfloat16" && { nuDtype: "float32" }) }),
  );
  const differentiate = valueAndGrad((of: typeof params) =>
    names.map((name) => square(of[name]!.astype("bfloat16").astype("float32")).sum()).reduce((a, b) => a.add(b)),
  );
  const step = (of: typeof params, state: any) => {
    const [, gradients] = differentiate(of);
    const [updates, next] = optimizer.update(gradients, state, of);
    return [applyUpdates(of, updates), next] as const;
  };
  const run = how === "jit" ? jit(step, { donateArgnums: [0, 1] }) : step;
  let state: any = optimizer.init(params);
  for (let i = 0; i < 3; i++) [params, state] = run(params, state);
  return bitsOf([params, state]);
}

/** A train step of layers in FP8. Returns the bits of everything, and the kernels of the last step. */
async function trainFp8(device: string): Promise<{ bits: string[]; kernels: string[] }> {
  setDevice(device);
  const layers = Array.from({ length: 3 }, () => new DenseGeneral({ features: 32, useBias: true }));
  const x = random.normal(random.key(1), [16, 32]);
  const inFp8 = <R>(body: () => R): R =>
    fp8Autocast({ enabled: true, fp8Recipe: new DelayedScaling({ amaxHistoryLen: 5 }) }, body);
  const init = () => layers.map((layer, i) => layer.init(random.key(i), x) as Variables);
  let all = inFp8(init).map(({ params_axes: _, ...rest }) => rest as Variables);
  const optimizer = chain(clipByGlobalNorm(1), adamw({ learningRate: 1e-2 }));
  let state: any = optimizer.init(all.map(({ params }) => params) as any);
  const loss = (of: Variables[]) => square(layers.reduce((y, layer, i) => layer.apply(of[i]!, y) as Tensor, x)).mean();
  const step = jit(
    (of: Variables[], state: any) => {
      const [, gradients] = valueAndGrad(loss)(of);
      const [updates, next] = optimizer.update(
        gradients.map((g) => g.params) as any,
        state,
        of.map((v) => v.params) as any,
      );
      const params = applyUpdates(of.map((v) => v.params) as any, updates) as any[];
      const after = of.map((v, i) => updateCollections({ ...gradients[i]!, params: params[i]! }, v) as Variables);
      return [after, next] as const;
    },
    { donateArgnums: [0, 1] },
  );
  let kernels: string[] = [];
  for (let i = 0; i < 3; i++) {
    const timings = await profile(() => {
      [all, state] = inFp8(() => step(all, state)) as [Variables[], any];
    });
    kernels = timings.map(({ op }) => op);
  }
  return { bits: await bitsOf([all, state]), kernels };
}

const count = (kernels: readonly string[], op: string): number => kernels.filter((name) => name === op).length;

afterAll(() => setDevice("auto"));

describe.skipIf(!cudaAvailable().available)("joined nodes", () => {
  describe.each(["float32", "bfloat16", "float16"] as const)("AdamW of %s parameters", (dtype) => {
    test.each([0.5, 1e9])("has the bits of the updates one by one, gradients clipped to %d", async (maxNorm) => {
      const [expected, joined] = [
        await optimize(DEVICES[0], dtype, maxNorm, "jit"),
        await optimize(DEVICES[1], dtype, maxNorm, "jit"),
      ];
      expect(joined).toEqual(expected);
      expect(await optimize(DEVICES[1], dtype, maxNorm, "eager")).toEqual(expected);
    });
  });

  test("an FP8 train step has the same bits in far fewer launches", async () => {
    const before = await trainFp8(DEVICES[0]);
    const after = await trainFp8(DEVICES[1]);
    expect(after.bits).toEqual(before.bits);
    // Six parameters, and nine tensors with FP8 state.
    expect(count(before.kernels, "adamw_update")).toBe(6);
    expect(count(before.kernels, "delayed_scaling_update")).toBe(9);
    for (const op of ["joined_adamw_update", "joined_delayed_scaling_update", "joined_square_sum"])
      expect([op, count(after.kernels, op)]).toEqual([op, 1]);
    // One for each update, and those for its squares and their sum, its clipping and its addition.
    expect(before.kernels.length - after.kernels.length).toBeGreaterThanOrEqual(6 * 4 - 2 + 8);
  });

  test.each(["interpreted", "compiled"])("casts of parameters are a launch for sixteen of a shape, %s", async (how) => {
    const shape = how === "compiled" ? [130, 127] : [5, 13];
    // Sixteen and two of one shape, and thirteen of another, whose kernel takes less shared memory.
    const parameters = Array.from({ length: 31 }, (_, i) => random.normal(random.key(i), i < 18 ? shape : [11, 3]));
    const cast = async (device: string) => {
      setDevice(device);
      const run = jit((of: Tensor[]) => of.map((p) => p.astype("bfloat16")));
      let results: Tensor[] = [];
      const timings = await profile(() => {
        results = run(parameters) as Tensor[];
      });
      return { bits: await bitsOf(results), kernels: timings.map(({ op }) => op) };
    };
    const [before, after] = [await cast(DEVICES[0]), await cast(DEVICES[1])];
    expect(after.bits).toEqual(before.bits);
    expect([count(before.kernels, "elementwise"), count(after.kernels, "elementwise")]).toEqual([31, 3]);
  });
});
