/** What an optimizer does in a step is joined into one kernel a parameter, with the bits of its ops one by one. */
import { profile } from "@te/kernels-cpu";
import { adamw, applyUpdates, chain, clipByGlobalNorm } from "@te/optim";
import { type DType, jit, random, setDevice, square, type Tensor, tree, valueAndGrad } from "@te/tensor";
import { beforeAll, describe, expect, test } from "vitest";

/** Shapes with a piece and with several, and with elements behind the last vector. */
const SHAPES: Readonly<Record<string, readonly number[]>> = { a: [], b: [7], c: [3, 65], d: [130, 257], e: [0, 4] };

type Parameters = Readonly<Record<string, Tensor>>;

/** Three steps that minimize the distance to zero. Gives the bytes of all results, and the kernels of the last step. */
async function optimize(dtype: DType, maxNorm: number, how: "jit" | "eager") {
  const parameters = Object.entries(SHAPES).map(([name, shape], i) => [
    name,
    random.normal(random.key(i), shape).astype(dtype),
  ]);
  let params: Parameters = Object.fromEntries(parameters);
  const mask = (of: Parameters) => tree.map((p) => (p as Tensor).rank > 1, of);
  const optimizer = chain(
    clipByGlobalNorm(maxNorm),
    adamw({ learningRate: 1e-2, weightDecay: 0.1, mask: mask as never }),
  );
  const loss = (of: Parameters): Tensor =>
    Object.values(of)
      .map((p) => square(p.astype("bfloat16").astype("float32")).sum())
      .reduce((a, b) => a.add(b));
  const step = (of: Parameters, state: any) => {
    const [, gradients] = valueAndGrad(loss)(of);
    const [updates, next] = optimizer.update(gradients as never, state, of as never);
    return [applyUpdates(of as never, updates as never), next] as const;
  };
  const run = how === "jit" ? jit(step, { donateArgnums: [0, 1] }) : step;
  let state = optimizer.init(params as never) as never;
  let kernels: string[] = [];
  for (let i = 0; i < 3; i++) {
    const timings = await profile(() => {
      [params, state] = run(params, state) as unknown as [Parameters, never];
    });
    kernels = timings.map(({ op }) => op);
  }
  const bytes = (tree.leaves([params, state] as never) as Tensor[]).map(async (leaf) => {
    const data = (await leaf.data()) as Float32Array;
    return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("hex");
  });
  return { bytes: await Promise.all(bytes), kernels };
}

const count = (kernels: readonly string[], op: string): number => kernels.filter((name) => name === op).length;

describe.each(["float32", "bfloat16", "float16"] as const)("AdamW of %s parameters", (dtype) => {
  beforeAll(() => setDevice("cpu"));

  test.each([0.5, 1e9])("is one kernel a parameter and one for its norm, clipped to %d", async (maxNorm) => {
    const [whole, parts] = [await optimize(dtype, maxNorm, "jit"), await optimize(dtype, maxNorm, "eager")];
    expect(whole.bytes).toEqual(parts.bytes);
    const parameters = Object.keys(SHAPES).length;
    expect(count(whole.kernels, "joined_adamw_update")).toBe(parameters);
    expect(count(whole.kernels, "adamw_update")).toBe(0);
    expect(count(parts.kernels, "adamw_update")).toBe(parameters);
    expect(count(whole.kernels, "joined_square_sum")).toBe(parameters);
    expect(count(whole.kernels, "reduce_sum")).toBe(0);
  });
});
