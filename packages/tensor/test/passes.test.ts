/** What each pass is for, on the programs that come out of it. */
import {
  checkpoint,
  currentBackend,
  dot,
  exp,
  grad,
  makeProgram,
  mul,
  ones,
  setDevice,
  sin,
  softmax,
  type Tensor,
  where,
  zeros,
} from "@te/tensor";
import { fuseElementwise, type NodeSpec, Program, planMemory, registerBackend, runPasses } from "@te/tensor/backend";
import { broadcastToOp, castOp, defineOp, reshapeOp, sliceOp, transposeOp, wholeRule } from "@te/tensor/op";
import { afterEach, describe, expect, test } from "vitest";
import { Arena } from "../src/program/arena.js";

const all = () => true as const;
const opsOf = (program: Program): string[] => program.nodes.map(({ op }) => op.name);
const optimized = (f: (...args: any[]) => unknown, ...args: unknown[]) => runPasses(makeProgram(f)(...args), all);
const x = zeros([4, 8]);

describe("simplify", () => {
  test("computes equal nodes once", () => {
    expect(opsOf(optimized((x: Tensor) => dot(exp(x), exp(x)), zeros([3, 3])))).toEqual(["exp", "dot"]);
  });

  test.each<[string, (x: Tensor) => Tensor[]]>([
    ["parameters", (x) => [x.sum(0), x.sum(1)]],
    ["operands", (x) => [x.max(0).sum(), x.sum()]],
    ["ops", (x) => [x.exp(), x.sin()]],
  ])("keeps nodes apart that differ in their %s", (_, f) => {
    expect(opsOf(optimized(f, x))).toEqual(opsOf(makeProgram(f)(x)));
  });

  test.each<[string, (x: Tensor) => Tensor]>([
    ["transpose", (x) => transposeOp({ x }, { perm: [0, 1] }).y],
    ["reshape", (x) => reshapeOp({ x }, { shape: [4, 8] }).y],
    ["broadcast", (x) => broadcastToOp({ x }, { shape: [4, 8] }).y],
    ["cast", (x) => castOp({ x }, { dtype: "float32" }).y],
    ["slice", (x) => sliceOp({ x }, { start: [0, 0], limit: [4, 8], stride: [1, 1] }).y],
  ])("drops a %s that changes nothing", (_, f) => {
    const program = makeProgram(f)(x);
    expect(opsOf(program)).toHaveLength(1);
    expect(opsOf(runPasses(program, all))).toEqual([]);
  });

  test("keeps a transpose that moves elements of a square", () => {
    expect(opsOf(optimized((x: Tensor) => x.transpose(), zeros([3, 3])))).toEqual(["transpose"]);
  });
});

test.each([
  ["[in, out]", [8, 5], 0],
  ["[out, in]", [5, 8], 1],
])("gradients of a product with weights %s need no transpose", (_, shape, contract) => {
  const loss = (x: Tensor, w: Tensor) => exp(dot(x, w, { lhsContract: [1], rhsContract: [contract] })).sum();
  const program = optimized(grad(loss, { argnums: [0, 1] }), x, zeros(shape));
  expect(opsOf(program).filter((name) => name === "dot")).toHaveLength(3);
  expect(opsOf(program)).not.toContain("transpose");
});

describe("expand", () => {
  const unary = {
    inputs: ["x"],
    outputs: ["y"],
    params: {},
    shape: ({ x }: any) => ({ y: x }),
    sharding: wholeRule,
  } as const;
  const inner = defineOp("passes_inner", { ...unary, reference: ({ x }) => ({ y: mul(sin(x), exp(x)) }) });
  const outer = defineOp("passes_outer", { ...unary, reference: ({ x }) => ({ y: exp(inner({ x }).y) }) });
  const two = defineOp("passes_two", {
    ...unary,
    outputs: ["y", "z"],
    shape: ({ x }) => ({ y: x, z: x }),
    reference: ({ x }) => ({ y: sin(x), z: exp(x) }),
  });
  const without =
    (...names: string[]) =>
    ({ op }: NodeSpec) =>
      !names.includes(op) || "declined";
  const expanded = (f: (...args: any[]) => unknown, ...declined: string[]) =>
    runPasses(makeProgram(f)(x), without(...declined));

  test("replaces what is declined, and what is declined in that", () => {
    const f = (x: Tensor) => outer({ x }).y;
    expect(opsOf(expanded(f))).toEqual(["passes_outer"]);
    expect(opsOf(expanded(f, "passes_outer"))).toEqual(["passes_inner", "exp"]);
    expect(opsOf(expanded(f, "passes_outer", "passes_inner"))).toEqual(["sin", "exp", "mul", "exp"]);
  });

  test("references share work with each other and with what was there", () => {
    const f = (x: Tensor) => [inner({ x }).y, outer({ x }).y, x.sin()];
    expect(opsOf(expanded(f, "passes_outer", "passes_inner"))).toEqual(["sin", "exp", "mul", "exp"]);
  });

  test("what nobody needs of a reference is not computed", () => {
    expect(opsOf(expanded((x: Tensor) => two({ x }).z, "passes_two"))).toEqual(["exp"]);
  });

  test("views need no kernel", () => {
    const asked: string[] = [];
    runPasses(makeProgram((x: Tensor) => x.reshape([32]).exp())(x), ({ op }) => {
      asked.push(op);
      return true;
    });
    expect(asked).toEqual(["exp"]);
  });

  test("what computes again computes its reference again", () => {
    const f = checkpoint((x: Tensor) => {
      const { y } = inner({ x });
      return dot(y, y);
    });
    const program = runPasses(makeProgram(grad((x: Tensor) => f(x).sum()))(zeros([3, 3])), without("passes_inner"));
    const again = program.nodes.filter(({ recomputed, op }) => recomputed && !op.view);
    expect(again.map(({ op }) => op.name)).toEqual(["sin", "exp", "mul"]);
  });

  test("a primitive without a kernel stays, to run on the host", () => {
    expect(opsOf(expanded((x: Tensor) => x.sin(), "sin"))).toEqual(["sin"]);
  });
});

describe("fuse", () => {
  const fused = (f: (...args: any[]) => unknown, ...args: unknown[]) => fuseElementwise(optimized(f, ...args));
  const elementwise = (program: Program) => program.nodes.filter(({ op }) => op.name === "elementwise");

  test("a node has at most 16 inputs", () => {
    const many = Array.from({ length: 40 }, () => x);
    const program = fused((many: Tensor[]) => many.reduce((a, b) => a.add(b)), many);
    expect(elementwise(program).map(({ inputs }) => inputs.length)).toEqual([16, 16, 10]);
  });

  test("a node has at most 96 instructions", () => {
    const program = fused((x: Tensor) => {
      let y = x;
      for (let i = 0; i < 200; i++) y = y.tanh();
      return y;
    }, x);
    expect(elementwise(program).map(({ params }) => (params.code as string[]).length)).toEqual([96, 96, 8]);
  });

  test("a node has one shape", () => {
    const program = fused((x: Tensor, s: Tensor) => x.exp().mul(s.tanh()), x, zeros([]));
    expect(program.nodes.map(({ outputs }) => program.values[outputs[0]!]!.shape)).toEqual([[], [4, 8]]);
  });

  test("what only the node itself reads is no output", () => {
    const [node] = fused((x: Tensor) => x.exp().sin().mul(2), x).nodes;
    expect(node!.outputs).toHaveLength(1);
  });

  test("a node that reads two chains joins both", () => {
    expect(opsOf(fused((x: Tensor, y: Tensor) => x.tanh().mul(y.exp()), x, x))).toEqual(["elementwise"]);
  });

  test("a value that is needed outside is an output too", () => {
    const program = fused((x: Tensor) => {
      const y = x.tanh();
      return [y, y.exp(), softmax(y)];
    }, x);
    expect(opsOf(program)).toEqual(["elementwise", "softmax"]);
    expect(program.nodes[0]!.outputs).toHaveLength(2);
  });

  test("a path around a group keeps what ends it outside", () => {
    const f = (x: Tensor) => {
      const y = x.tanh();
      return y.add(softmax(softmax(y).exp()));
    };
    expect(opsOf(fused(f, x))).toEqual(["elementwise", "softmax", "elementwise", "softmax", "elementwise"]);
  });

  test("constants and broadcasts become part of a node, and nothing is left of them", () => {
    const program = fused((x: Tensor, row: Tensor) => where(x.gt(0), x.mul(2), ones([4, 8])).add(row), x, zeros([8]));
    expect(opsOf(program)).toEqual(["elementwise"]);
    expect(program.nodes[0]!.inputs).toHaveLength(2);
  });

  test("a cast that saturates stays one", () => {
    const saturate = (x: Tensor) => castOp({ x: x.mul(2) }, { dtype: "float8_e4m3fn", saturate: true }).y;
    const [node] = fused(saturate, x).nodes;
    expect((node!.params.code as string[]).at(-1)).toMatch(/^cast_saturate float8_e4m3fn/);
  });
});

describe("memory", () => {
  const plan = (f: (...args: any[]) => unknown, args: Tensor[], donated: number[] = []) => {
    const { values, inputs, constants, nodes, outputs } = fuseElementwise(optimized(f, ...args));
    return planMemory(new Program(values, inputs, constants, nodes, outputs, donated));
  };
  const one = 4 * 8 * 4;

  test("an elementwise node writes over an operand that dies with it", () => {
    expect(plan((x: Tensor) => softmax(x).exp().sum(), [x]).arenaBytes).toBe(one);
    expect(plan((x: Tensor) => [softmax(x)].flatMap((y) => [y.exp().sum(), y.sum()]), [x]).arenaBytes).toBe(2 * one);
  });

  test("results take over donated arguments where an op writes in place, or after their last use", () => {
    const square = zeros([8, 8]);
    const turned = (x: Tensor) => x.transpose();
    expect(plan((x: Tensor) => x.exp(), [x], [0]).aliases).toEqual([0]);
    expect(plan((x: Tensor) => softmax(x), [x], [0]).aliases).toEqual([0]);
    expect(plan((x: Tensor) => x.exp(), [x]).aliases).toEqual([-1]);
    expect(plan(turned, [square], [0]).aliases).toEqual([-1]);
    expect(plan((x: Tensor) => dot(turned(x), turned(x)), [square], [0]).aliases).toEqual([0]);
    expect(plan((x: Tensor) => x.astype("bfloat16"), [x], [0]).aliases).toEqual([-1]);
    expect(plan((x: Tensor, s: Tensor) => x.add(s), [x, zeros([])], [1]).aliases).toEqual([-1]);
    expect(plan((x: Tensor, other: Tensor) => [x.exp(), other.sum()], [x, square], [1]).aliases).toEqual([-1, -1]);
    expect(plan((x: Tensor) => [softmax(x), x.sum()], [x], [0]).aliases).toEqual([-1, -1]);
  });

  test("of donated arguments that fit, the one whose last use is over is taken", () => {
    const f = (a: Tensor, b: Tensor) => {
      const y = softmax(softmax(b));
      return [y, dot(y, a, { lhsContract: [1], rhsContract: [1] }).sum()];
    };
    expect(plan(f, [x, x], [0, 1]).aliases).toEqual([1, -1]);
  });

  test("results that are views of arguments or of each other are copied", () => {
    const f = (x: Tensor) => [x.exp(), x.exp().reshape([32]), x.reshape([32])];
    const { program, locations } = plan(f, [x]);
    expect(opsOf(program)).toEqual(["elementwise", "copy", "copy"]);
    expect(program.outputs.map((id) => locations[id])).toEqual([0, 1, 2].map((at) => ({ kind: "output", at })));
  });

  test("values without elements take no memory", () => {
    expect(plan((x: Tensor) => softmax(x).exp().sum(), [zeros([0, 8])]).arenaBytes).toBe(0);
  });
});

describe("the arena", () => {
  test("gives the smallest gap that fits", () => {
    const arena = new Arena();
    const offsets = [256, 64, 128, 64].map((bytes) => arena.take(bytes));
    expect(offsets).toEqual([0, 256, 320, 448]);
    arena.give(offsets[0]!, 256);
    arena.give(offsets[2]!, 128);
    expect(arena.take(100)).toBe(320);
    expect(arena.take(100)).toBe(0);
    expect(arena.take(192)).toBe(512);
  });

  test("joins gaps that touch, and shrinks where the last range is given back", () => {
    const arena = new Arena();
    const offsets = [64, 64, 64, 64].map((bytes) => arena.take(bytes));
    for (const i of [0, 2, 1]) arena.give(offsets[i]!, 64);
    expect(arena.take(192)).toBe(0);
    arena.give(0, 192);
    arena.give(offsets[3]!, 64);
    expect(arena.take(512)).toBe(0);
    expect(arena.bytes).toBe(512);
  });
});

describe("programs that run at once", () => {
  afterEach(() => setDevice("auto"));

  test("are compiled once", () => {
    setDevice("reference");
    const reference = currentBackend();
    let compiled = 0;
    const compile = (program: Program) => {
      compiled++;
      return reference.compile(program);
    };
    registerBackend("counting", () => ({ ...reference, name: "counting", compile }));
    setDevice("counting");
    const count = (run: () => unknown): number => {
      compiled = 0;
      run();
      return compiled;
    };
    const loss = checkpoint((x: Tensor) => x.sin().exp().sum());
    expect(count(() => x.sin())).toBe(1);
    expect(count(() => x.sin())).toBe(0);
    expect(count(() => x.reshape([8, 4]).sin())).toBe(2);
    expect(count(() => grad(loss)(x))).toBe(1);
    expect(count(() => grad(loss)(x))).toBe(0);
  });
});
