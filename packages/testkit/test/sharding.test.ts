/** Sharding rules of all packages: each case is split and put together again. Then the judge itself: wrong rules must be found. */
import type { Aval, Tensor } from "@te/tensor";
import {
  CaseBuilder,
  definedOps,
  defineOp,
  dotOp,
  elementwiseRule,
  fillOp,
  flipOp,
  iotaOp,
  type OpDefinition,
  type OpSpec,
  rule,
  softmaxOp,
  wholeRule,
} from "@te/tensor/op";
import { describe, expect, test } from "vitest";
import { findShardingError, testSharding } from "../src/index.js";

await import("@te/fp8");
await import("@te/layers");
await import("@te/transformer");
await import("@te/optim");

const collectives = [
  "all_gather",
  "all_to_all",
  "ppermute",
  "all_reduce",
  "reduce_scatter",
  "shard_exchange",
  "axis_index",
  "agree",
];
testSharding({ indivisible: ["random_fold_in", "delayed_scaling_update", ...collectives] });

test("every op has a rule", () => {
  const without = [...definedOps().values()].filter(({ sharding }) => sharding === undefined);
  expect(without.map(({ name }) => name)).toEqual([]);
});

const c = new CaseBuilder();
const matrix = c.case("a matrix", { x: c.normal([5, 7]) });

type Unary = OpSpec<"x", "y", object, never>;
let count = 0;

/** Says what the judge finds in y = f(x) with a rule. */
function judged(
  spec: Pick<Unary, "reference" | "sharding"> & Partial<Pick<Unary, "shape" | "vjp" | "onShard">>,
): string | undefined {
  const op = defineOp(`test_sharding_${count++}`, {
    inputs: ["x"],
    outputs: ["y"],
    params: {},
    shape: ({ x }: { x: Aval }) => ({ y: x }),
    ...spec,
  });
  return findShardingError(op.definition, matrix);
}

const rowOf = ({ x }: { x: Aval }) => ({ y: { shape: x.shape.slice(0, -1), dtype: x.dtype } });

describe("a rule is caught that", () => {
  const softmax = { reference: ({ x }: { x: Tensor }) => softmaxOp({ x }) };
  const largest = { reference: ({ x }: { x: Tensor }) => ({ y: x.max(-1) }), shape: rowOf };

  test("is right (it is not)", () => {
    expect(judged({ ...softmax, sharding: () => rule("... n -> ... n", { whole: ["n"] }) })).toBeUndefined();
    expect(judged({ ...softmax, sharding: wholeRule })).toBeUndefined();
    expect(judged({ ...largest, sharding: () => rule("... n -> ...", { reduce: { n: "max" } }) })).toBeUndefined();
  });

  test("splits what an element needs as a whole", () => {
    expect(judged({ ...softmax, sharding: elementwiseRule })).toMatch(/split along \.\.\.1: y: N = /);
  });

  test("combines parts in another way", () => {
    const least = () => rule("... n -> ...", { reduce: { n: "min" } });
    expect(judged({ ...largest, sharding: () => rule("... n -> ...") })).toMatch(/\{n: sum\} split along n: y: N = /);
    expect(judged({ ...largest, sharding: least })).toMatch(/\{n: min\} split along n: y: N = /);
  });

  test("leaves parts where they were", () => {
    const reversed = { reference: ({ x }: { x: Tensor }) => ({ y: flipOp({ x }, { axes: [0] }).y }) };
    expect(judged({ ...reversed, sharding: elementwiseRule })).toMatch(/split along \.\.\.0: y: N = /);
  });

  test("is right for the values and not for the gradient", () => {
    const copy = { reference: ({ x }: { x: Tensor }) => ({ y: x.mul(1) }), sharding: elementwiseRule };
    const meanOverRows: Unary["vjp"] = ({ grads, inputs: { x } }) => ({ x: grads.y.div(x.shape[0]!) });
    expect(judged(copy)).toBeUndefined();
    expect(judged({ ...copy, vjp: meanOverRows })).toMatch(/split along \.\.\.0: gradient of x: N = /);
  });
});

describe("a shard is caught that", () => {
  /** The same op with something else on shards. */
  function changed({ sharding, ...rest }: OpDefinition, onShard?: OpDefinition["onShard"]): OpDefinition {
    const spec = { ...rest, sharding: sharding! };
    if (onShard) spec.onShard = onShard;
    else delete spec.onShard;
    return defineOp(`test_sharding_${count++}`, spec).definition;
  }

  test("adds a bias to every partial sum", () => {
    const product = c.case(
      "a product",
      { a: c.normal([3, 8]), b: c.normal([8, 5]), bias: c.normal([5]) },
      { lhsContract: [1], rhsContract: [0] },
    );
    expect(findShardingError(dotOp.definition, product)).toBeUndefined();
    expect(findShardingError(changed(dotOp.definition), product)).toMatch(/split along k0: y: N = /);
  });

  test("numbers every part from the start", () => {
    const numbers = c.case("numbers", {}, { shape: [7], axis: 0 });
    const local: OpDefinition["onShard"] = (_, params, shard, op) =>
      op({}, { ...params, shape: shard.shapeOf(shard.output("y")) });
    expect(findShardingError(iotaOp.definition, numbers)).toBeUndefined();
    expect(findShardingError(changed(iotaOp.definition, local), numbers)).toMatch(
      /split along a0: y: element 3 must be 3/,
    );
  });

  test("runs with the parameters of the whole", () => {
    const ones = c.case("ones", {}, { shape: [5, 7], value: 1 });
    expect(findShardingError(fillOp.definition, ones)).toBeUndefined();
    expect(() => findShardingError(changed(fillOp.definition), ones)).toThrow(
      /y of a shard must have shape \[2,7\], got float32\[5,7\]/,
    );
  });
});
