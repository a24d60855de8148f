/** FP8 tensors that products read along both of their axes: what rounds them writes both copies. */
import "./emulated.js";
import "@te/kernels-cpu";
import "@te/kernels-cuda";
import { DelayedScaling, fp8Autocast, quantizeOp, scaledDotOp } from "@te/fp8";
import { LayerNormMLP, layerNormQuantizeOp, rmsNormQuantizeOp } from "@te/layers";
import { currentBackend, jit, makeProgram, ones, random, setDevice, type Tensor, valueAndGrad } from "@te/tensor";
import { fuseElementwise, type Pass, type Program, type ProgramNode, runPasses } from "@te/tensor/backend";
import { expectClose, findBitDifference, normals } from "@te/testkit";
import { beforeAll, describe, expect, test } from "vitest";
import { transposedCopies } from "../src/passes/transposed-copies.js";

const scale = ones([1]);
const x = normals([2, 16, 48], { dtype: "bfloat16" });
const kernel = normals([48, 3, 16], { seed: "kernel", dtype: "bfloat16" });
const grad = normals([2, 16, 3, 16], { seed: "grad", dtype: "bfloat16" });

const gamma = normals([48], { seed: "gamma", dtype: "bfloat16" });
const beta = normals([48], { seed: "beta", dtype: "bfloat16" });

const quantize = (x: Tensor, dtype = "float8_e4m3fn" as "float8_e4m3fn" | "float8_e5m2"): Tensor =>
  quantizeOp({ x, scale }, { dtype }).q;
const product = (a: Tensor, b: Tensor, lhsContract: number[], rhsContract: number[]): Tensor =>
  scaledDotOp({ a, b, aScaleInv: scale, bScaleInv: scale }, { lhsContract, rhsContract, dtype: "bfloat16" }).y;

/** The three products of a step, of tensors that are rounded once each. */
function step(x: Tensor, kernel: Tensor, grad: Tensor): Tensor[] {
  const [xq, kq, gq] = [quantize(x), quantize(kernel), quantize(grad, "float8_e5m2")];
  return [product(xq, kq, [2], [0]), product(gq, kq, [2, 3], [1, 2]), product(xq, gq, [0, 1], [0, 1])];
}

const DEVICE: readonly Pass[] = [transposedCopies];
const passed = (
  f: (...args: any[]) => unknown,
  args: Tensor[],
  supports = (_: { op: string }): true | string => true,
) => runPasses(makeProgram(f)(...args), supports, DEVICE);
const opsOf = ({ nodes }: Program): string[] => nodes.map(({ op }) => op.name);
const dotsOf = ({ nodes }: Program): ProgramNode[] => nodes.filter(({ op }) => op.name === "scaled_dot");
const axesOf = ({ params }: ProgramNode) => [params.lhsContract, params.rhsContract];

describe("the pass", () => {
  test("gives every product of a step its operands along the depth", () => {
    const program = passed(step, [x, kernel, grad]);
    expect(opsOf(program)).toEqual([...Array(3).fill("quantize_transposed"), ...Array(3).fill("scaled_dot")]);
    expect(dotsOf(program).map(axesOf)).toEqual([
      [[2], [1]],
      [
        [2, 3],
        [1, 2],
      ],
      [[1], [1]],
    ]);
    const turned = program.nodes.slice(0, 3).map(({ outputs }) => program.values[outputs[2]!]!);
    expect(turned).toEqual([
      { shape: [48, 32], dtype: "float8_e4m3fn" },
      { shape: [48, 48], dtype: "float8_e4m3fn" },
      { shape: [48, 32], dtype: "float8_e5m2" },
    ]);
    expect(program.outputs.map((id) => program.values[id]!.shape)).toEqual([
      [2, 16, 3, 16],
      [2, 16, 48],
      [48, 3, 16],
    ]);
  });

  test("turns the axes of the other operand along", () => {
    const other = normals([16, 32, 2], { seed: "other", dtype: "bfloat16" });
    const f = (x: Tensor, other: Tensor) => product(quantize(x), other.astype("float8_e4m3fn"), [1, 0], [0, 2]);
    expect(dotsOf(passed(f, [x, other])).map(axesOf)).toEqual([[[1], [2, 0]]]);
  });

  test.each<[string, (x: Tensor) => unknown]>([
    ["read along the depth", (x) => product(quantize(x), quantize(x), [2], [2])],
    [
      "with sizes that tensor cores do not read as they lie",
      (x) => {
        const q = quantize(x.slice([0, 0, 0], [2, 15, 48]));
        return product(q, q, [0, 1], [0, 1]);
      },
    ],
    [
      "whose axes pair up in two orders",
      (x) => product(quantize(x.reshape([4, 8, 48])), quantize(x.reshape([8, 4, 48])), [0, 1], [1, 0]),
    ],
    [
      "summed over axes in between",
      (x) => {
        const q = quantize(x);
        return product(q, q, [1], [1]);
      },
    ],
    [
      "that nothing rounds",
      (x) => {
        const q = x.astype("float8_e4m3fn");
        return product(q, q, [0, 1], [0, 1]);
      },
    ],
  ])("leaves tensors %s alone", (_, f) => {
    const square = normals([2, 16, 48], { dtype: "bfloat16" });
    const before = runPasses(makeProgram(f)(square), () => true);
    expect(runPasses(before, () => true, DEVICE)).toBe(before);
  });

  test("asks the device, and takes the split that most products can share", () => {
    const asked: string[] = [];
    const declined = passed(step, [x, kernel, grad], ({ op }) => {
      asked.push(op);
      return "no";
    });
    expect(new Set(asked)).toEqual(new Set(["quantize_transposed"]));
    expect(opsOf(declined)).not.toContain("quantize_transposed");
    const two = (x: Tensor) => {
      const q = quantize(x);
      return [product(q, q, [0, 1], [0, 1]), product(q, quantize(x.mul(2)), [0], [0])];
    };
    const wide = normals([16, 16, 32], { dtype: "bfloat16" });
    const dots = dotsOf(passed(two, [wide]));
    expect(axesOf(dots[0]!)).toEqual([[1], [1]]);
    expect(axesOf(dots[1]!)[0]).toEqual([0]); // its split is another
  });
});

/** What the backward pass of a bias does beside its products. */
function biased(x: Tensor, grad: Tensor): Tensor[] {
  const g = grad.mul(2);
  const q = quantize(g, "float8_e5m2");
  return [product(quantize(x), q, [0, 1], [0, 1]), g.astype("float32").sum([0, 1]).astype("bfloat16")];
}

describe("sums over leading axes", () => {
  const fused = (f: (...args: any[]) => unknown, args: Tensor[]): Program =>
    runPasses(makeProgram(f)(...args), () => true, [{ name: "fuse", run: fuseElementwise }, transposedCopies]);

  test("are written by what rounds, and the cast that they read is not stored", () => {
    const program = fused(biased, [x, grad]);
    expect(opsOf(program)).toEqual([
      "elementwise",
      "quantize_transposed",
      "quantize_transposed",
      "scaled_dot",
      "elementwise",
    ]);
    expect(program.nodes[0]!.outputs.length).toBe(1);
    const [sum] = program.nodes[4]!.inputs;
    expect(program.nodes.find(({ outputs }) => outputs.includes(sum!))!.outputs.indexOf(sum!)).toBe(3);
    expect(program.values[sum!]).toEqual({ shape: [3, 16], dtype: "float32" });
  });

  test("of a float32 tensor are read from it", () => {
    const f = (x: Tensor, grad: Tensor) => {
      const g = grad.astype("float32");
      return [product(quantize(x), quantize(g), [0, 1], [0, 1]), g.sum([0, 1])];
    };
    expect(opsOf(fused(f, [x, grad]))).not.toContain("reduce_sum");
  });

  test.each<[string, (g: Tensor) => Tensor]>([
    ["over other axes", (g) => g.astype("float32").sum([0])],
    ["over axes behind", (g) => g.astype("float32").sum([2, 3])],
    ["of something else", (g) => g.astype("float32").mul(3).sum([0, 1])],
    ["of 16 bits", (g) => g.sum([0, 1])],
  ])("%s stay", (_, sum) => {
    const f = (x: Tensor, grad: Tensor) => [
      product(quantize(x), quantize(grad, "float8_e5m2"), [0, 1], [0, 1]),
      sum(grad),
    ];
    expect(opsOf(fused(f, [x, grad]))).toContain("reduce_sum");
  });

  test("that the scale comes from stay", () => {
    const f = (x: Tensor, grad: Tensor) => {
      const total = grad.astype("float32").sum([0, 1]);
      const q = quantizeOp({ x: grad, scale: total.max().reshape([1]) }).q;
      return [product(quantize(x), q, [0, 1], [0, 1]), total];
    };
    expect(opsOf(fused(f, [x, grad]))).toContain("reduce_sum");
  });
});

describe("on the GPU", () => {
  beforeAll(() => setDevice("cuda"));

  test("the kernels are there", () => {
    const program = runPasses(makeProgram(step)(x, kernel, grad), (node) => currentBackend().supports(node), DEVICE);
    expect(opsOf(program).filter((op) => op === "quantize_transposed").length).toBe(3);
  });

  test("products are the same to the bit", () => {
    const together = jit(step)(x, kernel, grad);
    const apart = step(x, kernel, grad);
    together.forEach((y, i) => expect(findBitDifference(y, apart[i]!), `product ${i}`).toBeUndefined());
  });

  test.each([
    ["layer_norm_quantize", (x: Tensor) => layerNormQuantizeOp({ x, gamma, beta, scale }).q],
    ["rms_norm_quantize", (x: Tensor) => rmsNormQuantizeOp({ x, gamma, scale }).q],
  ])("what %s rounds is written in both orders by one kernel", (name, rounded) => {
    const f = (x: Tensor, grad: Tensor): Tensor[] => {
      const q = rounded(x);
      return [product(q, quantize(kernel), [2], [0]), product(q, quantize(grad, "float8_e5m2"), [0, 1], [0, 1])];
    };
    const program = runPasses(makeProgram(f)(x, grad), (node) => currentBackend().supports(node), DEVICE);
    expect(opsOf(program)).toContain(`${name}_transposed`);
    const apart = f(x, grad);
    jit(f)(x, grad).forEach((y, i) => expect(findBitDifference(y, apart[i]!), `product ${i}`).toBeUndefined());
  });

  test("sums are those of the sum, in another order", () => {
    expectClose(jit(biased)(x, grad)[1]!, biased(x, grad)[1]!, "op");
  });

  test("a block trains as on the CPU", async () => {
    const losses: Record<string, number[]> = {};
    for (const device of ["cpu", "cuda"]) {
      setDevice(device);
      losses[device] = await fp8Autocast({ enabled: true, fp8Recipe: new DelayedScaling({ amaxHistoryLen: 4 }) }, () =>
        train(),
      );
    }
    for (const [i, loss] of losses.cpu!.entries()) expect(losses.cuda![i]! / loss).toBeCloseTo(1, 1);
    expect(losses.cuda!.at(-1)!).toBeLessThan(losses.cuda![0]! * 0.95);
  });
});

/** The losses of a few steps of gradient descent of a block in FP8. */
async function train(): Promise<number[]> {
  const module = new LayerNormMLP({ intermediateDim: 64, dtype: "bfloat16", useBias: true });
  const x = normals([2, 16, 32], { dtype: "bfloat16" });
  const loss = (variables: any, x: Tensor): Tensor => {
    const y = module.apply(variables, x)[0].astype("float32").sub(1);
    return y.mul(y).mean();
  };
  const gradients = jit(valueAndGrad(loss));
  let { params, fp8_metas } = module.init(random.key(0), x) as any;
  const losses: number[] = [];
  for (let step = 0; step < 4; step++) {
    const [value, grads] = gradients({ params, fp8_metas }, x) as any;
    losses.push(await value.item());
    const descend = (p: any, g: any): any =>
      Object.fromEntries(
        Object.entries(p).map(([name, value]: [string, any]) => [
          name,
          "shape" in value ? value.sub(g[name].mul(0.3)).astype(value.dtype) : descend(value, g[name]),
        ]),
      );
    params = descend(params, grads.params);
    fp8_metas = grads.fp8_metas;
  }
  return losses;
}
