/** Sharding rules: how their text is read, what is wrong with it, and what shards are. */
import { type Aval, type DType, iota, type Tensor, zeros } from "@te/tensor";
import { elementwiseOp } from "@te/tensor/backend";
import {
  addOp,
  applyShard,
  broadcastToOp,
  defineOp,
  dotOp,
  elementwiseRule,
  formatRule,
  type OpDefinition,
  type Params,
  type RuleText,
  reduceMaxOp,
  reshapeOp,
  rule,
  Shard,
  shardingRule,
  sliceOp,
  softmaxOp,
  takeOp,
  transposeOp,
} from "@te/tensor/op";
import { expectError } from "@te/testkit";
import { describe, expect, test } from "vitest";

const of = (...shape: number[]): Aval => ({ shape, dtype: "float32" });
const indices = (...shape: number[]): Aval => ({ shape, dtype: "int32" as DType });
const text = (op: { definition: OpDefinition }, inputs: readonly (Aval | undefined)[], params?: Params): string =>
  formatRule(shardingRule(op.definition, inputs, params));

describe("rules of ops", () => {
  test.each<[string, string, string]>([
    ["leading axes broadcast", text(addOp, [of(4, 1, 32), of(3, 1)]), "...0 1 ...2, ...1 1 -> ...0 ...1 ...2"],
    ["a scalar has no axes", text(addOp, [of(7), of()]), "...0,  -> ...0"],
    [
      "rows are split by the reference alone",
      text(softmaxOp, [of(2, 3, 5)]),
      "...0 ...1 n -> ...0 ...1 n {n: composed}",
    ],
    [
      "a contracted axis is summed, and an input may be left out",
      text(dotOp, [of(2, 3), of(3, 4)], { lhsContract: [1], rhsContract: [0] }),
      "m0 k0, k0 p0, - -> m0 p0 {k0: sum}",
    ],
    ["extremes combine by extremes", text(reduceMaxOp, [of(2, 3)], { axes: [1] }), "a0 a1 -> a0 {a1: max}"],
    [
      "a kept axis has length 1",
      text(reduceMaxOp, [of(2, 3)], { axes: [0], keepDims: true }),
      "a0 a1 -> 1 a1 {a0: max}",
    ],
    ["axes change places", text(transposeOp, [of(2, 3, 4)], { perm: [2, 0, 1] }), "a0 a1 a2 -> a2 a0 a1"],
    ["new axes are free", text(broadcastToOp, [of(3, 1)], { shape: [2, 3, 4] }), "...1 1 -> ...0 ...1 ...2"],
    [
      "what is cut is whole",
      text(sliceOp, [of(4, 5)], { start: [0, 1], limit: [4, 3], stride: [1, 1] }),
      "a0 5 -> a0 2",
    ],
    ["rows that are looked up are sums", text(takeOp, [of(9, 4), indices(2, 3)]), "a0 a1, i0 i1 -> i0 i1 a1 {a0: sum}"],
  ])("%s", (_, found, wanted) => expect(found).toBe(wanted));

  test.each<[number[], number[], string]>([
    [[2, 5, 4, 8], [10, 32], "f0 f1 f2 f3 -> (f0 f1) (f2 f3)"],
    [[6, 12], [2, 3, 1, 4, 3], "(f0 f1) (f2 f3) -> f0 f1 1 f2 f3"],
    [[4, 6], [8, 3], "f0 (f1 f2) -> (f0 f1) f2"],
    [[2, 3, 5], [3, 2, 5], "w0 w2 f4 -> w1 w3 f4 {w0: whole, w2: whole, w1: whole, w3: whole}"],
    [[6], [6, 1], "f0 -> f0 1"],
    [[0, 5], [7, 0], "0 5 -> 7 0"],
    [[1, 1], [], "1 1 -> "],
  ])("reshape [%s] to [%s]", (from, to, wanted) => {
    expect(text(reshapeOp, [of(...from)], { shape: to })).toBe(wanted);
  });

  test("sizes are those of the call", () => {
    const { factors } = shardingRule(reshapeOp.definition, [of(4, 6)], { shape: [8, 3] });
    expect(factors).toEqual({
      f0: { size: 4, split: "free" },
      f1: { size: 2, split: "free" },
      f2: { size: 3, split: "free" },
    });
  });

  test("what passes make has none", () => {
    expectError("option", /shardingRule: the op must be a definition that defineOp made/, () =>
      shardingRule(elementwiseOp, [of(2)]),
    );
  });
});

let count = 0;
function read(sharding: () => RuleText, ...inputs: Aval[]): string {
  const { definition } = defineOp(`test_rule_${count++}`, {
    inputs: ["a", "b"],
    outputs: ["y"],
    params: {},
    shape: ({ a }: { a: Aval }) => ({ y: a }),
    sharding,
    reference: ({ a }: { a: Tensor }) => ({ y: a }),
  });
  return formatRule(shardingRule(definition, inputs));
}

describe("a rule is refused that", () => {
  test.each<[string, RuleText, RegExp]>([
    [
      "has too few terms",
      rule("m k -> m k"),
      /"m k -> m k" must have 2 terms before the arrow, one for each input, got 1/,
    ],
    ["has too many results", rule("m k, k -> m k, m"), /must have 1 terms after the arrow, got 2/],
    ["has no arrow", rule("m k, k"), /must be one term, or terms of inputs -> terms of outputs/],
    ["lacks an axis", rule("m, k -> m k"), /must have an entry for each axis in the term "m", got float32\[2,3\]/],
    [
      "has an axis too many",
      rule("m k, ... k n -> m k"),
      /an entry for each axis in the term "... k n", got float32\[3\]/,
    ],
    ["gives a factor two sizes", rule("m k, m -> m k"), /wants 2 elements along m, got float32\[3\]/],
    ["names a factor twice", rule("m m, k -> m k"), /must name each factor once in the term "m m", got m/],
    ["has a length that is not there", rule("m 4, k -> m k"), /wants an axis of length 4, got float32\[2,3\]/],
    ["cannot be read", rule("m k, k -> m k!"), /cannot be read at "!" of the term "m k!"/],
    ["leads twice", rule("... ..., k -> m k"), /may say "..." once/],
    ["mixes any axes with others", rule("m *, k -> m k"), /must have "\*" alone/],
    ["names what is not there", rule("m k, k -> m k", { whole: ["n"] }), /every factor that its options name, got n/],
    ["leaves a product open", rule("(m n) k, k -> (m n) k"), /needs sizes for the factors of a product/],
    [
      "does not divide",
      rule("(m n) k, k -> (m n) k", { sizes: { m: 4 } }),
      /wants a multiple of 4 elements along m n, got float32\[2,3\]/,
    ],
  ])("%s", (_, wrong, message) => {
    const found = expectError("state", message, () => read(() => wrong, of(2, 3), of(3)));
    expect(found).toBeUndefined();
  });

  test("is right (it is not)", () => {
    expect(read(() => rule("m k, k -> m k"), of(2, 3), of(3))).toBe("m k, k -> m k");
    expect(read(() => rule("*"), of(2, 3), of(3))).toBe("2 3, 3 -> 2 3");
    expect(read(elementwiseRule, of(2, 3), of(3))).toBe("...0 ...1, ...1 -> ...0 ...1");
  });

  test("has options of another kind", () => {
    expectError("option", /reduce must be sum, max, min, got prod/, () =>
      rule("k ->", { reduce: { k: "prod" as never } }),
    );
    expectError("option", /rule: text must be a string, got 3/, () => rule(3 as never));
  });
});

describe("a shard", () => {
  const product = shardingRule(reshapeOp.definition, [of(2, 6)], { shape: [4, 3] });

  test("is a stretch of each factor", async () => {
    // [2, 6] and [4, 3] are f0 (f1 f2) and (f0 f1) f2.
    expect(formatRule(product)).toBe("f0 (f1 f2) -> (f0 f1) f2");
    const shard = new Shard(reshapeOp.definition, product, { f1: { start: 1, size: 1 } });
    expect(shard.shapeOf(shard.output("y"))).toEqual([2, 3]);
    const x = iota([12], 0).reshape([2, 6]);
    const [y] = applyShard(shard, [shard.part(product.inputs[0]!, x)], { shape: [4, 3] });
    expect(await y!.data()).toEqual(Int32Array.of(3, 4, 5, 9, 10, 11));
  });

  test("lies in factors that may be split", () => {
    const rows = shardingRule(softmaxOp.definition, [of(2, 3)]);
    const make = (ranges: ConstructorParameters<typeof Shard>[2]) => () =>
      new Shard(softmaxOp.definition, rows, ranges);
    expectError(
      "option",
      /softmax: a shard must split factors that may be split, got n/,
      make({ n: { start: 0, size: 1 } }),
    );
    expectError("option", /factors that may be split, got k. Factors: ...0, n/, make({ k: { start: 0, size: 1 } }));
    expectError("option", /a part of ...0 must lie in \[0, 2\], got \[1, 2\]/, make({ "...0": { start: 1, size: 2 } }));
    expectError("option", /no such output, got z/, () => make({})().output("z"));
    expectError("option", /no such factor, got k/, () => make({})().range("k"));
  });

  test("gives the shapes of its part", () => {
    const rows = shardingRule(addOp.definition, [of(4), of(4)]);
    const shard = new Shard(addOp.definition, rows, { "...0": { start: 0, size: 2 } });
    expectError("state", /add: b of a shard must have shape \[2\], got float32\[4\]/, () =>
      applyShard(shard, [zeros([2]), zeros([4])]),
    );
  });
});

test("an op without a rule is refused", () => {
  const spec = { inputs: ["x"], outputs: ["y"], params: {}, shape: ({ x }: { x: Aval }) => ({ y: x }) };
  expectError("option", /defineOp\(no_rule\): sharding must be a function, got undefined. See rule and wholeRule/, () =>
    defineOp("no_rule", { ...spec, reference: ({ x }: { x: Tensor }) => ({ y: x }) } as never),
  );
});
