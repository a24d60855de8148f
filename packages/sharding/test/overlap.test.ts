/** The order of programs that exchange: what starts early, what waits, and that they compute the same. */
import { dot, exp, makeProgram, random, slice, type Tensor } from "@te/tensor";
import { compile, fallbackBackend, type Program, planMemory } from "@te/tensor/backend";
import { describe, expect, test } from "vitest";
import { allGatherOp, allReduceOp } from "../src/ops/collectives.js";
import { overlapExchanges } from "../src/partition/overlap.js";

const ALONE = { ranks: [0], place: 0 };
const reduce = (x: Tensor): Tensor => allReduceOp({ x }, ALONE).y;
/** The op of a group of two, whose result is the larger. */
const gather = (x: Tensor): Tensor =>
  slice(allGatherOp({ x }, { ...ALONE, ranks: [0, 1] }).y, [0, 0, 0], [1, 4, 4]).reshape(x.shape);
const copyOf = (x: Tensor): Tensor => allGatherOp({ x }, ALONE).y.reshape(x.shape);

const draw = (seed: number): Tensor => random.normal(random.key(seed), [4, 4]);
const [x, v, w] = [draw(1), draw(2), draw(3)];

/** The program as it is ordered, each node as its op and the values that it reads. */
function ordered(f: (...args: Tensor[]) => Tensor[], ...args: Tensor[]): string[] {
  const { nodes } = overlapExchanges(makeProgram(f)(...args));
  return nodes.filter(({ op }) => !op.view && op.name !== "fill").map(({ op }) => op.name);
}

describe("an exchange", () => {
  test("starts before what it does not need", () => {
    const ops = ordered((x, v, w) => [dot(x, v), exp(w), reduce(dot(x, w))], x, v, w);
    expect(ops).toEqual(["dot", "all_reduce", "dot", "exp"]);
  });

  test("is read as late as may be", () => {
    const ops = ordered(
      (x, v) => {
        const sum = reduce(x).add(1);
        return [sum, dot(x, v), exp(v)];
      },
      x,
      v,
    );
    expect(ops).toEqual(["all_reduce", "dot", "exp", "add"]);
  });

  test("that needs another waits until what does not has run beside the first", () => {
    const ops = ordered(
      (x, v, w) => {
        const first = reduce(dot(x, v));
        const second = reduce(exp(dot(first, w)));
        return [second, dot(v, w)];
      },
      x,
      v,
      w,
    );
    expect(ops).toEqual(["dot", "all_reduce", "dot", "exp", "all_reduce", "dot"]);
  });

  test("that follows one it does not need starts as soon as it can", () => {
    const ops = ordered(
      (x, v, w) => {
        const [first, second] = [reduce(dot(x, v)), dot(x, w)];
        const rest = exp(first);
        return [rest, reduce(second)];
      },
      x,
      v,
      w,
    );
    expect(ops).toEqual(["dot", "all_reduce", "dot", "all_reduce", "exp"]);
  });
});

test("weights are fetched one ahead", () => {
  const weights = [draw(4), draw(5), draw(6)];
  const ops = ordered(
    (x, ...weights) => {
      let y = x;
      for (const weight of weights) y = dot(y, gather(exp(weight)));
      return [y];
    },
    x,
    ...weights,
  );
  const [fetch, use] = [
    ["exp", "all_gather"],
    ["slice", "dot"],
  ];
  expect(ops).toEqual([...fetch, ...fetch, ...use, ...fetch, ...use, ...use]);
});

/** A program of products, sums and exchanges, drawn from a seed. */
function drawn(seed: number): Program {
  const picks = Array.from(random.bits(random.key(seed), [60]).dataSync()) as number[];
  const pick = (n: number): number => picks.pop()! % n;
  return makeProgram((...given: Tensor[]) => {
    const values = [...given];
    for (let i = 0; i < 12; i++) {
      const [a, b] = [values[pick(values.length)]!, values[pick(values.length)]!];
      const ways = [
        () => dot(a, b),
        () => a.add(b).mul(0.5),
        () => reduce(a),
        () => copyOf(b),
        () => exp(a.neg().abs().neg()),
      ];
      values.push(ways[pick(ways.length)]!());
    }
    return values.slice(-4);
  })(x, v, w);
}

function resultsOf(program: Program): Uint8Array[] {
  const backend = fallbackBackend();
  const { executable, program: compiled } = compile(program, backend);
  const given = [x, v, w, ...compiled.constants.map(({ tensor }) => tensor)];
  return executable.run(given.map((each) => each.expectStorage("jit").on(backend))).map((y) => y.readSync());
}

test("drawn programs compute what they did, and exchange in memory of their own", () => {
  for (let seed = 0; seed < 60; seed++) {
    const before = drawn(seed);
    const after = overlapExchanges(before);
    expect([...after.nodes].map(({ op }) => op.name).sort()).toEqual(before.nodes.map(({ op }) => op.name).sort());
    expect(resultsOf(after), `seed ${seed}`).toEqual(resultsOf(before));
    expectUntouched(after);
  }
});

/** From the call of an exchange to the first use of its result nothing is written where its inputs lie. */
function expectUntouched(program: Program): void {
  const { program: planned, locations } = planMemory(program);
  const { nodes, values } = planned;
  const range = (id: number): readonly [number, number] | undefined => {
    const place = locations[id];
    return place?.kind === "arena"
      ? [place.at, place.at + 4 * values[id]!.shape.reduce((n, d) => n * d, 1)]
      : undefined;
  };
  nodes.forEach(({ op, inputs, outputs }, at) => {
    if (!op.exchanges) return;
    const result = JSON.stringify(locations[outputs[0]!]);
    for (const later of nodes.slice(at + 1)) {
      if (later.inputs.some((id) => JSON.stringify(locations[id]) === result)) return;
      for (const written of later.outputs.map(range))
        for (const read of inputs.map(range))
          if (written && read) expect(written[0] < read[1] && read[0] < written[1]).toBe(false);
    }
  });
}
