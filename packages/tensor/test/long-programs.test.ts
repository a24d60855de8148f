/** Programs of tens of thousands of nodes: nothing recurses over their length, and passes take time in proportion to it. */
import "@te/kernels-cpu";
import {
  checkpoint,
  concat,
  customVjp,
  einsum,
  full,
  grad,
  jit,
  makeProgram,
  ones,
  TeError,
  type Tensor,
  tensor,
  vjp,
} from "@te/tensor";
import { asTeError, fuseElementwise, type Program, planMemory, runPasses } from "@te/tensor/backend";
import { onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { expectBits } from "./helpers.js";

const x = ones([2, 3]);
const times = <T>(count: number, step: (value: T, i: number) => T, start: T): T => {
  let value = start;
  for (let i = 0; i < count; i++) value = step(value, i);
  return value;
};

onEachDevice(() => {
  test("a gradient through two thousand recurrent steps", () => {
    const unit = tensor([
      [1, 0],
      [0, 1],
    ]);
    const steps = (w: Tensor) => times(2000, (h: Tensor) => h.matmul(w), ones([1, 2])).sum();
    expectBits(jit(grad(steps))(unit), full([2, 2], 2000));
  });

  test.each<[string, (x: Tensor) => Tensor, Tensor]>([
    ["reshapes", (x) => times(20_000, (x: Tensor, i) => x.reshape(i % 2 ? [2, 3] : [3, 2]), x), x],
    ["additions", (x) => times(20_000, (x: Tensor) => x.add(1), x), x.add(20_000)],
    ["sums that are added to what they sum", (x) => times(3000, (x: Tensor) => x.sub(x.mean(0)).add(1), x), x],
  ])("twenty thousand nodes: %s", (_, f, expected) => {
    expectBits(jit(f)(x), expected);
  });

  test("ten thousand arguments, taken over by ten thousand results in another order", () => {
    const list = Array.from({ length: 10_000 }, (_, i) => tensor([i]));
    const reverse = (list: Tensor[]) =>
      list.map((_, i) =>
        list
          .at(-1 - i)!
          .mul(2)
          .sum()
          .add(ones([1])),
      );
    const results = jit(reverse, { donateArgnums: [0] })(list) as Tensor[];
    expectBits([results[0], results[9_999]], [tensor([19_999]), tensor([1])]);
  });

  test("a concat of ten thousand, and its gradient", () => {
    const f = (x: Tensor) => concat(Array(10_000).fill(x));
    expect(jit(f)(x).shape).toEqual([20_000, 3]);
    const repeated = (x: Tensor) => concat(Array.from({ length: 500 }, () => x.mul(1))).sum();
    expectBits(grad(repeated)(x), x.mul(500));
  });

  test("an einsum of a thousand terms", () => {
    const terms = Array.from({ length: 1000 }, () => ones([2]));
    const equation = `${terms.map(() => "a").join()}->a`;
    expectBits(jit((...terms: Tensor[]) => einsum(equation, ...terms))(...terms), ones([2]));
  });
});

/** Functions of n nodes and more, by what could make a pass slow. */
const shapes: Record<string, (n: number) => (x: Tensor) => unknown> = {
  "a chain": (n) => (x) => times(n, (x: Tensor) => x.tanh(), x),
  "groups with reductions between": (n) => (x) => times(n / 4, (x: Tensor) => x.sub(x.sum(0)).exp(), x),
  views: (n) => (x) => times(n, (x: Tensor, i) => x.reshape(i % 2 ? [2, 3] : [3, 2]), x),
  "values that live long": (n) => grad((x) => times(n / 4, (x: Tensor) => x.matmul(ones([3, 3])), x).sum()),
  "checkpoints in a row": (n) => {
    const part = checkpoint((x: Tensor) => x.sin().exp());
    return grad((x) => times(n / 8, part, x).sum());
  },
  "one value with many users": (n) => (x) => Array.from({ length: n / 2 }, (_, i) => x.add(i).sum()),
  "a path around every group": (n) => (x) => {
    const parts = [x];
    for (let i = 0; i < n / 4; i++) parts.push(parts[i]!.sum(0).add(parts[i]!));
    return parts.reduce((a, b) => a.add(b));
  },
};

const passes = (program: Program) => planMemory(fuseElementwise(runPasses(program, () => true)));

/** The least processor time of five runs of each, in turn: what else runs on the machine slows both. */
function processorTimes(...runs: (() => void)[]): number[] {
  const samples = Array.from({ length: 5 }, () =>
    runs.map((run) => {
      const start = process.cpuUsage();
      run();
      return process.cpuUsage(start).user;
    }),
  );
  return runs.map((_, i) => Math.min(...samples.map((sample) => sample[i]!)));
}

test.each(Object.entries(shapes))("passes take time in proportion to length: %s", (_, shape) => {
  const [short, long] = [2_500, 20_000].map((n) => makeProgram(shape(n) as never)(x));
  // As many nodes in eight programs: processors count their time in steps that are long beside one of these.
  const eight = (): void => {
    for (let i = 0; i < 8; i++) passes(short!);
  };
  eight(); // compiles the passes themselves
  const [whole, parts] = processorTimes(() => passes(long!), eight);
  const ratio = whole! / parts!;
  // 8 where time grows with the square of the length. Where with the length it is not quite 1: caches hold short programs, in
  // which searches end before they are cut off too; 3 was seen.
  expect(ratio).toBeLessThan(5);
});

describe("errors name what ran out", () => {
  const codeOf = (run: () => unknown): [string, string] => {
    try {
      run();
    } catch (error) {
      if (TeError.is(error)) return [error.code, error.message];
    }
    return ["none", ""];
  };
  const again = (x: Tensor): Tensor => again(x.add(1)).mul(2);
  const nested = times<(x: Tensor) => Tensor>(
    3000,
    (f) =>
      customVjp(
        f,
        (x: Tensor) => [f(x), x],
        (saved: Tensor, ct: Tensor) => vjp(f, saved)[1](ct),
      ),
    (x) => x.tanh(),
  );

  test.each<[string, () => unknown]>([
    ["a function that calls itself for ever", () => jit(again)(x)],
    ["its gradient", () => grad(again)(x)],
    ["thousands of functions inside each other", () => jit(grad((x: Tensor) => nested(x).sum()))(x)],
  ])("the stack: %s", (_, run) => {
    const [code, message] = codeOf(run);
    expect(code).toBe("state");
    expect(message).toMatch(/^stack: .*Maximum call stack size exceeded.*loop/);
    expect(message).not.toMatch(/memory/);
  });

  test("a RangeError is memory only where memory is meant", () => {
    const codes = [
      () => new Float32Array(2 ** 53),
      () => new ArrayBuffer(2 ** 52),
      () => "x".repeat(2 ** 40),
      () => (1).toFixed(200),
      () => new Date(Number.NaN).toISOString(),
    ].map((run) => {
      try {
        return run();
      } catch (error) {
        return asTeError(error).code;
      }
    });
    expect(codes).toEqual(["memory", "memory", "backend", "backend", "backend"]);
  });

  test("an array that contains itself", () => {
    const endless: any[] = [];
    endless.push(endless);
    expect(codeOf(() => tensor(endless))[1]).toMatch(/^tensor: nested arrays may have 64 levels/);
  });
});
