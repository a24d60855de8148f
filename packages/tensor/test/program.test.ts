/** Programs: their text, fusing, memory plans; and random programs, whose jit must equal their ops one by one. */
import "@te/kernels-cpu";
import { fc, test as property } from "@fast-check/vitest";
import { grad, jit, makeProgram, setDevice, softmax, type Tensor, tensor, where, zeros } from "@te/tensor";
import { fuseElementwise, type Program, planMemory } from "@te/tensor/backend";
import { bytesOf } from "@te/tensor/op";
import { onEachDevice, presentDevices } from "@te/testkit";
import { afterAll, describe, expect, test } from "vitest";
import { expectBits } from "./helpers.js";

const seed = Number(process.env.TE_TEST_SEED ?? 1);

test("a program prints one op per line, with types", () => {
  const f = (x: Tensor, w: Tensor) => x.matmul(w).tanh().mul(2);
  expect(String(makeProgram(f)(zeros([4, 8]), zeros([8, 3])))).toBe(
    `program(%0: float32[4,8], %1: float32[8,3]) {
  %2: float32[4,3] = dot(%0, %1, -) {"lhsContract":[1],"rhsContract":[0],"lhsBatch":[],"rhsBatch":[],"dtype":""}
  %3: float32[4,3] = tanh(%2)
  %4: float32[] = fill() {"value":2,"shape":[],"dtype":"float32"}
  %5: float32[4,3] = mul(%3, %4)
  return %5
}`,
  );
});

test("what the results do not need is left out", () => {
  const program = makeProgram((x: Tensor) => {
    x.exp();
    return x.neg();
  })(zeros([2]));
  expect(program.nodes.map(({ op }) => op.name)).toEqual(["neg"]);
});

describe("fusing", () => {
  const opsOf = (f: (...args: any[]) => unknown, ...args: Tensor[]): string[] =>
    fuseElementwise(makeProgram(f)(...args)).nodes.map(({ op }) => op.name);

  test("makes one node of a chain, with its constants and broadcasts", () => {
    expect(opsOf((x: Tensor, b: Tensor) => x.add(b).mul(2).tanh().sub(x), zeros([4, 8]), zeros([8]))).toEqual([
      "elementwise",
    ]);
  });
  test("keeps an op between two chains between them", () => {
    const f = (x: Tensor) => {
      const y = x.mul(2);
      return softmax(y).add(y).exp();
    };
    expect(opsOf(f, zeros([2, 3]))).toEqual(["elementwise", "softmax", "elementwise"]);
  });
  test("does not join shapes", () => {
    expect(opsOf((x: Tensor) => x.exp().sum(-1).log(), zeros([2, 3]))).toEqual([
      "elementwise",
      "reduce_sum",
      "elementwise",
    ]);
  });
});

describe("memory plans", () => {
  test("a long chain of products needs two buffers", () => {
    const chain = (x: Tensor) => {
      let y = x;
      for (let i = 0; i < 10; i++) y = y.matmul(x);
      return y.sum();
    };
    expect(planMemory(makeProgram(chain)(zeros([32, 32]))).arenaBytes).toBe(2 * 32 * 32 * 4);
  });
  test("a reshape shares memory", () => {
    const { arenaBytes } = planMemory(makeProgram((x: Tensor) => softmax(x).reshape([6]).sum())(zeros([2, 3])));
    expect(arenaBytes).toBe(64);
  });
  test("an argument returned twice is copied twice", () => {
    const { program, locations } = planMemory(makeProgram((x: Tensor) => [x, x])(zeros([2])));
    expect(program.outputs.map((id) => locations[id])).toEqual([
      { kind: "output", at: 0 },
      { kind: "output", at: 1 },
    ]);
  });
});

/** Runs a plan on paper: what every byte of memory holds. Throws where a value is read after something else took its place. */
function checkPlan(original: Program): void {
  const { program, locations, aliases, arenaBytes } = planMemory(original);
  const root = new Map<number, number>();
  for (const { op, inputs, outputs } of original.nodes)
    if (op.name === "reshape") root.set(outputs[0]!, root.get(inputs[0]!) ?? inputs[0]!);
  const rootOf = (id: number): number => root.get(id) ?? id;

  const holds = new Map<string, number>();
  const cells = (id: number): string[] => {
    const at = locations[id]!;
    if (at.kind === "output" && aliases[at.at]! >= 0) return [`input ${aliases[at.at]}`];
    if (at.kind !== "arena") return [`${at.kind} ${at.at}`];
    const { shape, dtype } = program.values[id]!;
    const bytes = shape.reduce((product, d) => product * d, bytesOf(dtype));
    expect(at.at + bytes).toBeLessThanOrEqual(arenaBytes);
    return Array.from({ length: Math.ceil(bytes / 4) }, (_, i) => `arena ${at.at / 4 + i}`);
  };
  const write = (id: number): void => {
    for (const cell of cells(id)) holds.set(cell, rootOf(id));
  };
  const read = (id: number, reader: string): void => {
    for (const cell of cells(id)) expect(holds.get(cell), `${cell}, read by ${reader}`).toBe(rootOf(id));
  };
  program.given.filter((id) => locations[id]).forEach(write);
  for (const { op, inputs, outputs } of program.nodes) {
    for (const id of inputs) if (id >= 0) read(id, op.name);
    for (const [from, to] of inputs.flatMap((id) => (id < 0 ? [] : outputs.map((out) => [cells(id), cells(out)])))) {
      // A kernel may write over what it reads only where it is made for that: element by element, or declared.
      const inPlace = op.name === "elementwise" || op.inPlace !== undefined;
      if (!inPlace || String(from) !== String(to))
        expect(
          to!.some((cell) => from!.includes(cell)),
          `${op.name} writes over an operand`,
        ).toBe(false);
    }
    outputs.forEach(write);
  }
  for (const id of program.outputs) read(id, "the caller");
}

/** How a random program makes its next value from those before it; a and b are positions among those. */
const steps = {
  add: (a: Tensor, b: Tensor) => a.add(b),
  scale: (a: Tensor) => a.mul(0.5),
  tanh: (a: Tensor) => a.tanh(),
  select: (a: Tensor, b: Tensor) => where(a.gt(b), a, b.neg()),
  bfloat16: (a: Tensor) => a.astype("bfloat16").add(1).astype("float32"),
  softmax: (a: Tensor) => softmax(a),
  center: (a: Tensor) => a.sub(a.mean(-1, { keepDims: true })),
  rows: (a: Tensor, b: Tensor) => a.mul(b.sum(0)),
  product: (a: Tensor, b: Tensor) => a.matmul(b.transpose()).matmul(b).mul(0.1),
  reshape: (a: Tensor) => a.reshape([3, 8]).exp().reshape([4, 6]).mul(0.1),
  turn: (a: Tensor) => a.transpose().reshape([4, 6]),
} as const;

const randomProgram = fc.record({
  steps: fc.array(
    fc.record({
      kind: fc.constantFrom(...(Object.keys(steps) as (keyof typeof steps)[])),
      a: fc.nat(50),
      b: fc.nat(50),
    }),
    { minLength: 1, maxLength: 25 },
  ),
  results: fc.array(fc.nat(50), { minLength: 1, maxLength: 4 }),
});
type RandomProgram = typeof randomProgram extends fc.Arbitrary<infer T> ? T : never;

const build =
  (random: RandomProgram) =>
  (x: Tensor, y: Tensor): Tensor[] => {
    const values = [x, y];
    const pick = (at: number): Tensor => values[at % values.length]!;
    for (const { kind, a, b } of random.steps) values.push((steps[kind] as any)(pick(a), pick(b)));
    return random.results.map((at) => pick(at + values.length - 1));
  };

const x = tensor(
  Float32Array.from({ length: 24 }, (_, i) => Math.sin(i)),
  { shape: [4, 6] },
);
const y = tensor(
  Float32Array.from({ length: 24 }, (_, i) => Math.cos(3 * i)),
  { shape: [4, 6] },
);

describe("random programs", () => {
  afterAll(() => setDevice("auto"));

  property.prop([randomProgram], { numRuns: 60, seed })("keep every value until its last use", (random) => {
    const forward = makeProgram(build(random))(x, y);
    const total = (a: Tensor, b: Tensor) => build(random)(a, b).reduce((sum, t) => sum.add(t.sum()), tensor(0));
    for (const program of [forward, makeProgram(grad(total, { argnums: [0, 1] }))(x, y)]) {
      checkPlan(program);
      checkPlan(fuseElementwise(program));
    }
  });

  property.prop([randomProgram], { numRuns: 25, seed })(
    "give the bits of their ops one by one on every device",
    (random) => {
      for (const device of presentDevices()) {
        setDevice(device);
        expectBits(jit(build(random))(x, y), build(random)(x, y));
      }
    },
  );

  property.prop([randomProgram], { numRuns: 15, seed })(
    "give the same bits when they may take over their arguments",
    (random) => {
      for (const device of presentDevices()) {
        setDevice(device);
        const expected = jit(build(random))(x, y);
        const donated = jit(build(random), { donateArgnums: [0, 1] })(x.mul(1), y.mul(1));
        expectBits(donated, expected);
      }
    },
  );
});

onEachDevice(() => {
  test("two hundred calls of a step hold no more memory than twenty", async () => {
    const { memory } = await import("@te/tensor");
    const step = jit((a: Tensor) => a.mul(1.5).tanh().add(0.1), { donateArgnums: [0] });
    let state = tensor(new Float32Array(256));
    const held: number[] = [];
    for (let i = 0; i < 200; i++) {
      state = step(state);
      if (i % 10 === 9) {
        await state.data();
        held.push(memory().live);
      }
    }
    expect(new Set(held.slice(1)).size).toBe(1);
  });
});
