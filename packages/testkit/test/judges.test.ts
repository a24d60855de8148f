/** The judges themselves: wrong kernels, wrong gradients and leaks must be found. */
import { type Aval, setDevice, type Tensor } from "@te/tensor";
import { type Backend, fallbackBackend, registerBackend } from "@te/tensor/backend";
import {
  type Case,
  CaseBuilder,
  defineOp,
  elementwiseRule,
  loadFloat64,
  type OpDefinition,
  storeNumbers,
} from "@te/tensor/op";
import { afterEach, describe, expect, test } from "vitest";
import { declinedOps, findCaseGradientError, findOp, formatDeclined, runCase, support } from "../src/index.js";

const c = new CaseBuilder();
afterEach(() => setDevice("auto"));

let mutants = 0;

/** The reference backend with something done to the float32 results of each run. */
function mutant(change: (values: Float32Array, run: number) => void): void {
  let runs = 0;
  // A name of its own: programs are cached by it.
  const name = `mutant ${mutants++}`;
  const backend: Backend = {
    ...fallbackBackend(),
    name,
    compile(program) {
      const inner = fallbackBackend().compile(program);
      return {
        dispose: () => inner.dispose(),
        run: (inputs) =>
          inner.run(inputs).map((buffer) => {
            const bytes = buffer.readSync();
            buffer.release();
            if (bytes.length % 4 === 0) change(new Float32Array(bytes.buffer), runs++);
            return fallbackBackend().fromHost(bytes, "copy");
          }),
      };
    },
  };
  registerBackend(name, () => backend);
  setDevice(name);
}

const multiply = (): [OpDefinition, Case] => [
  findOp("mul"),
  c.case("small", { a: c.normal([4, 33]), b: c.normal([4, 33]) }),
];

describe("a kernel is caught that", () => {
  test("is right (it is not)", async () => {
    mutant(() => {});
    await runCase(...multiply());
  });

  const MUTANTS: [string, (values: Float32Array, run: number) => void, string][] = [
    ["returns zeros", (values) => values.fill(0), "y: N = 1.0e+0"],
    ["is off by 1e-5 of each value", (values) => values.set(values.map((v) => v * 1.00001)), "y: N = 1.0e-5"],
    ["leaves out the last element", (values) => (values[values.length - 1] = 0), "element 131 is 0"],
    ["gives NaN in one place", (values) => (values[7] = Number.NaN), "element 7 must be"],
    [
      "gives other bits when run again",
      (values, run) => (values[3]! *= 1 + (run % 2) * 2 ** -22),
      "jit against eager: element 3",
    ],
    ["keeps memory", () => void fallbackBackend().fromHost(new Uint8Array(64), "copy"), "bytes are still held"],
  ];

  test.each(MUTANTS)("%s", async (_, change, why) => {
    mutant(change);
    await expect(runCase(...multiply())).rejects.toThrow(why);
  });
});

/** y = x², with whatever gradient. */
const square = (name: string, gradient: (x: Tensor, dy: Tensor) => Tensor) =>
  defineOp(name, {
    inputs: ["x"],
    outputs: ["y"],
    params: {},
    shape: ({ x }: { x: Aval }) => ({ y: x }),
    sharding: elementwiseRule,
    evaluate: ({ x }, _, { y }) => {
      const from = loadFloat64(x);
      storeNumbers(y, (to) => to.set(from.map((v) => v * v)));
    },
    vjp: ({ inputs: { x }, grads: { y } }) => ({ x: gradient(x, y) }),
  }).definition;

describe("a gradient is caught by finite differences that", () => {
  const of = c.case("small", { x: c.normal([5, 7]) });
  const check = (gradient: (x: Tensor, dy: Tensor) => Tensor) =>
    findCaseGradientError(square("test_square", gradient), of);

  test("is right (it is not)", () => {
    expect(check((x, dy) => dy.mul(x).mul(2))).toBeUndefined();
  });

  test.each<[string, (x: Tensor, dy: Tensor) => Tensor]>([
    ["is zero", (x) => x.mul(0)],
    ["is off by 1e-4", (x, dy) => dy.mul(x).mul(2.0002)],
    ["ignores the cotangent", (x) => x.mul(2)],
    ["has the other sign", (x, dy) => dy.mul(x).mul(-2)],
    ["is transposed", (x, dy) => dy.mul(x).mul(2).reshape([7, 5]).transpose().reshape([5, 7])],
  ])("%s", (_, gradient) => {
    expect(check(gradient)).toContain("by finite differences");
  });
});

test("a gradient that rounds too early is caught by the oracle", async () => {
  const coarse = square("test_coarse", (x, dy) => dy.mul(x).mul(2).astype("bfloat16").astype(x.dtype));
  setDevice("reference");
  await expect(runCase(coarse, c.case("small", { x: c.normal([64]) }))).rejects.toThrow("gradient of x: N = ");
});

describe("support", () => {
  test("counts what a backend declines, with its reasons", () => {
    registerBackend("picky", () => ({
      ...fallbackBackend(),
      name: "picky",
      supports: ({ inputs }) => inputs[0]?.dtype !== "float16" || "no float16 here",
    }));
    const rows = support("picky").filter((row) => row.op === "exp");
    expect(rows.find((row) => row.dtype === "float16")).toMatchObject({ taken: 0, reasons: ["no float16 here"] });
    expect(rows.find((row) => row.dtype === "float32")).toMatchObject({ declined: 0, reasons: [] });
    expect(formatDeclined(rows)).toMatch(/^exp float16: (\d+) of \1 cases declined \(no float16 here\)$/);
  });
});

test("declined ops of a case are those of its gradient too", () => {
  registerBackend("no multiplication", () => ({
    ...fallbackBackend(),
    name: "no multiplication",
    supports: ({ op }) => op !== "mul" || "broken",
  }));
  const [op, of] = [findOp("exp"), c.case("small", { x: c.normal([3]) })];
  expect(declinedOps("no multiplication", op, of)).toEqual([{ op: "mul", why: "broken" }]);
  expect(declinedOps("reference", op, of)).toEqual([]);
});
