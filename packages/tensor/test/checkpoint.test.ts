/** checkpoint: values and gradients of any order keep their bits under every policy, nested and around functions of any form. */
import {
  type CheckpointPolicy,
  checkpoint,
  checkpointName,
  checkpointPolicies,
  cumsum,
  customVjp,
  dot,
  grad,
  jit,
  makeProgram,
  ones,
  softmax,
  type Tensor,
  tensor,
  topK,
  tree,
  valueAndGrad,
  vjp,
} from "@te/tensor";
import { fuseElementwise, runPasses } from "@te/tensor/backend";
import { describe, expect, test } from "vitest";
import { expectBits } from "./helpers.js";

const { nothingSaveable, everythingSaveable, dotsSaveable, saveOnlyTheseNames } = checkpointPolicies;
const policies: Record<string, CheckpointPolicy> = {
  nothingSaveable,
  everythingSaveable,
  dotsSaveable,
  "one name": saveOnlyTheseNames("kept"),
  "all but one name": checkpointPolicies.saveAnythingExceptTheseNames("kept"),
};

const x = tensor([
  [0.3, -1.2, 0.7],
  [1.1, 0.4, -0.5],
  [-0.8, 0.9, 0.2],
]);
/** The derivative is made of what the function computed on its way. */
const squashed = customVjp(
  (a: Tensor) => a.tanh(),
  (a: Tensor) => {
    const y = a.tanh();
    return [y, { y }];
  },
  ({ y }: { y: Tensor }, g: Tensor) => [g.mul(y.mul(y).neg().add(1))],
);
const doubled = customVjp(
  (a: Tensor) => a.mul(a),
  (a: Tensor) => [a.mul(a), { a }],
  ({ a }: { a: Tensor }, g: Tensor) => [g.mul(a).mul(2)],
);

/** Functions of x with results of several forms; each has a step whose derivative needs what came before. */
const functions: Record<string, (x: Tensor) => unknown> = {
  "a chain": (x) => checkpointName(x.tanh(), "kept").sin().exp(),
  "an operand twice": (x) => dot(x.sin(), x.sin(), { lhsContract: [1], rhsContract: [0] }).tanh(),
  "a square of a product": (x) => {
    const y = x.matmul(x).tanh();
    return dot(y, y, { lhsContract: [0], rhsContract: [0] }).sin();
  },
  "an op with two results, one unused": (x) => topK(x.sin(), 2).values.exp(),
  "its own argument, and a tree": (x) => ({ x, y: [x.sin().cos()] }),
  "a gradient of its own": (x) => doubled(x.sin()).cos(),
  "a gradient from its own results": (x) => squashed(squashed(x).sin()).exp(),
  "a checkpoint inside": (x) => checkpoint((a: Tensor) => a.tanh().sin(), { policy: dotsSaveable })(x.exp()).cos(),
};

const sumOf = (result: unknown): Tensor =>
  tree
    .leaves(result)
    .map((leaf) => leaf.mul(leaf).sum())
    .reduce((a, b) => a.add(b));

describe.each(Object.entries(functions))("%s", (_, f) => {
  test.each(Object.entries(policies))("under %s", (_, policy) => {
    const kept = checkpoint(f, { policy });
    const both = (g: typeof f) => valueAndGrad((x: Tensor) => sumOf(g(x)));
    const twice = (g: typeof f) => grad((x: Tensor) => sumOf(grad((x: Tensor) => sumOf(g(x)))(x)));
    expectBits(kept(x), f(x));
    expectBits(both(kept)(x), both(f)(x));
    expectBits(jit(both(kept))(x), both(f)(x));
    // Second derivatives add the same terms in another order.
    expect(twice(kept)(x)).toBeAllclose(twice(f)(x), { rtol: 1e-4, atol: 1e-5 });
  });
});

test("second derivatives see what a customVjp kept", () => {
  const twice = (f: (x: Tensor) => Tensor) => grad((x: Tensor) => grad((x: Tensor) => f(x).sum())(x).sum())(x);
  expect(twice(squashed)).toBeAllclose(
    twice((x) => x.tanh()),
    { rtol: 1e-5, atol: 1e-6 },
  );
});

test("a function of trees, with arguments that take no part", () => {
  const f = ({ a, b }: { a: Tensor; b: Tensor }, scale: number, unused: Tensor) => ({
    y: a.mul(b.sin()).mul(scale),
    unused,
  });
  const run = (g: typeof f) => vjp((p: { a: Tensor; b: Tensor }) => g(p, 3, x).y, { a: x, b: x });
  const [[y, pull], [expected, expectedPull]] = [run(checkpoint(f)), run(f)];
  expectBits(y, expected);
  expectBits(pull(x), expectedPull(x));
});

/** The nodes that a device with kernels for every op is given, in order. */
const compiledNodes = (f: (...args: any[]) => unknown, ...args: unknown[]) =>
  runPasses(makeProgram(f)(...args), () => true).nodes.filter(({ op }) => !op.view);
const compiledOps = (f: (...args: any[]) => unknown, ...args: unknown[]): string[] =>
  compiledNodes(f, ...args).map(({ op }) => op.name);

test("what is kept is not computed again, what is not is", () => {
  const f = (x: Tensor) => checkpointName(x.matmul(x), "kept").sin().matmul(x).sin().sum();
  const products = (policy: CheckpointPolicy): number =>
    compiledOps(valueAndGrad(checkpoint(f, { policy })), x).filter((op) => op === "dot").length;
  const plain = compiledOps(valueAndGrad(f), x).filter((op) => op === "dot").length;
  expect(products(nothingSaveable) - plain).toBe(2);
  expect(products(saveOnlyTheseNames("kept")) - plain).toBe(1);
  expect(products(dotsSaveable) - plain).toBe(0);
});

test("where everything is kept, nothing is computed again, ops with several results neither", () => {
  const f = (x: Tensor) => topK(x.sin(), 2).values.exp().sum();
  const kept = checkpoint(f, { policy: everythingSaveable });
  expect(compiledOps(valueAndGrad(kept), x)).toEqual(compiledOps(valueAndGrad(f), x));
});

test("values are computed again right before they are needed", () => {
  // Each product of the backward pass needs one of the two softmaxes; the later one first.
  const f = (x: Tensor, a: Tensor, b: Tensor) => softmax(cumsum(softmax(x).matmul(a), 0)).matmul(b);
  const kept = checkpoint(f, { policy: dotsSaveable });
  const loss = (x: Tensor, a: Tensor, b: Tensor) => {
    const y = kept(x, a, b);
    return y.mul(y).sum();
  };
  const nodes = compiledNodes(grad(loss, { argnums: [1, 2] }), x, x, x);
  const marks = nodes.filter(({ op, recomputed }) => recomputed || op.name === "dot");
  expect(marks.map(({ op }) => op.name)).toEqual(["dot", "dot", "dot", "cumsum", "softmax", "dot", "softmax", "dot"]);
});

test("what is computed again joins the backward pass, not the forward pass that made its operands", () => {
  const f = checkpoint((x: Tensor) => x.sin().exp());
  const step = (x: Tensor) => {
    const y = x.mul(2);
    return f(y).matmul(y).sum();
  };
  const { nodes } = fuseElementwise(runPasses(makeProgram(grad(step))(x), () => true));
  const sines = nodes.map(({ params }) => (params.code as string[] | undefined)?.filter((line) => /^sin/.test(line)));
  const dot = nodes.findIndex(({ op }) => op.name === "dot");
  expect(sines.slice(0, dot).flat().filter(Boolean)).toHaveLength(1);
  expect(sines.slice(dot).flat().filter(Boolean)).toHaveLength(1);
});

test("constants are shared with what computes again", () => {
  const step = (x: Tensor) => {
    const c = ones([3, 3]);
    return checkpoint((x: Tensor) => x.mul(c).sin().exp())(x).sum();
  };
  const { nodes } = runPasses(makeProgram(grad(step))(x), () => true);
  expect(nodes.filter(({ op }) => op.barrier)).toHaveLength(1);
  expect(nodes.filter(({ op, params }) => op.name === "fill" && String(params.shape) === "3,3")).toHaveLength(1);
});

test("equal functions give equal programs", () => {
  const program = () => String(makeProgram(grad(checkpoint((x: Tensor) => x.sin().exp().sum())))(x));
  expect(program()).toBe(program());
});

test("a policy sees ops, their params, and names on the nodes that give them", () => {
  const seen: unknown[] = [];
  const policy: CheckpointPolicy = ({ op, name, params }) => {
    seen.push([op, name, Object.keys(params)]);
    return false;
  };
  makeProgram(grad(checkpoint((x: Tensor) => checkpointName(x.sin(), "mine").sum(), { policy })))(x);
  expect(seen).toEqual([
    ["sin", undefined, []],
    ["checkpoint_name", "mine", ["name"]],
    ["reduce_sum", undefined, ["axes", "keepDims"]],
  ]);
});
