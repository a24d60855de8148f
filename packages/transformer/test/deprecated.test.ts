/** Deprecated names take effect or are refused, and warn once per process. */
import { random, type Tensor } from "@te/tensor";
import { describeLeaves, expectError, findBitDifference, maskOf, normals } from "@te/testkit";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  DotProductAttention,
  MultiHeadAttention,
  type MultiHeadAttentionOptions,
  RelativePositionBiases,
  TransformerLayer,
} from "../src/index.js";

const x = normals([2, 3, 8]);
const q = normals([2, 3, 2, 4]);
const heads = { headDim: 4, numAttentionHeads: 2 };

let emitWarning: ReturnType<typeof vi.spyOn>;
let warnings: string[];
beforeEach(() => {
  warnings = [];
  // Said once per process: the first test of a name is where it is used first.
  emitWarning = vi.spyOn(process, "emitWarning").mockImplementation((message, type) => {
    expect(type).toBe("DeprecationWarning");
    warnings.push(String(message));
  });
});
afterEach(() => emitWarning.mockRestore());

describe("MultiHeadAttention", () => {
  const run = (module: MultiHeadAttention): [Tensor, Tensor | undefined] =>
    module.apply(module.init(random.key(0), x, x), x, x, { rngs: { dropout: random.key(1) } });
  const base: MultiHeadAttentionOptions = heads;

  const renamed: [string, MultiHeadAttentionOptions, MultiHeadAttentionOptions][] = [
    ["numHeads", { headDim: 4, numHeads: 2 }, base],
    ["dropoutRate", { ...base, dropoutRate: 0.5 }, { ...base, attentionDropout: 0.5 }],
    ["fuseQkv", { ...base, fuseQkv: false }, { ...base, fuseQkvParams: false }],
    [
      "applyResidualConnectionPostLayernorm",
      { ...base, applyResidualConnectionPostLayernorm: true },
      { ...base, returnLayernormOutput: true },
    ],
  ];
  test.each(renamed)("%s takes effect and warns once", (name, old, current) => {
    const variables = new MultiHeadAttention(old).init(random.key(0), x, x);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(`MultiHeadAttention: the option ${name} is deprecated. Use `);
    const module = new MultiHeadAttention(old);
    expect(warnings).toHaveLength(1);
    const same = new MultiHeadAttention(current);
    expect(describeLeaves(variables.params)).toEqual(describeLeaves(same.init(random.key(0), x, x).params));
    const [[a, b], [c, d]] = [run(module), run(same)];
    expect(findBitDifference(a, c)).toBeUndefined();
    expect([b?.shape, d?.shape]).toEqual([d?.shape, b?.shape]);
    expect(warnings).toHaveLength(1);
  });

  test("the new names change something, so that the old ones are seen to", () => {
    const [plain] = run(new MultiHeadAttention(base));
    for (const [, , current] of renamed.slice(1, 3))
      expect(findBitDifference(run(new MultiHeadAttention(current))[0], plain)).toBeDefined();
    expect(run(new MultiHeadAttention(renamed[3]![2]))[1]).toBeDefined();
    expect(run(new MultiHeadAttention(base))[1]).toBeUndefined();
  });

  test("both names must agree", () => {
    expectError(
      "option",
      /dropoutRate is another name of attentionDropout and must agree with it, got \[0.1, 0.2\]/,
      () => new MultiHeadAttention({ ...heads, dropoutRate: 0.1, attentionDropout: 0.2 }),
    );
    expect(() => new MultiHeadAttention({ ...heads, numHeads: 2 })).not.toThrow();
  });

  test("outputLayernorm is gone", () => {
    for (const outputLayernorm of [true, false]) {
      expectError(
        "option",
        /outputLayernorm was removed and must be left out, got .*Use outputLayernorm of TransformerLayer/,
        () => new MultiHeadAttention({ ...heads, outputLayernorm }),
      );
    }
    expect(() => new MultiHeadAttention({ ...heads, outputLayernorm: null })).not.toThrow();
  });
});

describe("DotProductAttention", () => {
  test("dtype must be that of the inputs, and warns", () => {
    const module = new DotProductAttention({ ...heads, dtype: "float32" });
    new DotProductAttention({ ...heads, dtype: "bfloat16" });
    expect(warnings).toEqual(["DotProductAttention: the option dtype is deprecated. The dtype of the inputs decides."]);
    expect(
      findBitDifference(module.apply({}, q, q, q), new DotProductAttention(heads).apply({}, q, q, q)),
    ).toBeUndefined();
    const half = q.astype("bfloat16");
    expectError(
      "dtype",
      /query must have the dtype that the deprecated option dtype names, float32, got bfloat16/,
      () => module.apply({}, half, half, half),
    );
  });

  test("the mask as an option of the call", () => {
    const mask = maskOf([2, 3, 3], (_b, _i, j) => j === 2);
    const module = new DotProductAttention({ ...heads, attnMaskType: "padding" });
    const positional = module.apply({}, q, q, q, mask);
    expect(warnings).toEqual([]);
    expect(findBitDifference(module.apply({}, q, q, q, { mask }), positional)).toBeUndefined();
    module.apply({}, q, q, q, { mask });
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(
      /the call option mask is deprecated. Pass it, or a SequenceDescriptor, as fourth argument/,
    );
  });

  test("the mask in both places", () => {
    const mask = maskOf([2, 3, 3], () => false);
    expectError("option", /sequenceDescriptor and the deprecated option mask are two ways to say one thing/, () =>
      new DotProductAttention({ ...heads, attnMaskType: "padding" }).apply({}, q, q, q, mask, { mask }),
    );
  });
});

test("numHeads is another name elsewhere, without a warning", () => {
  const same = (a: unknown, b: unknown): void => expect(a).toBe(b);
  same(new DotProductAttention({ headDim: 4, numHeads: 2 }).numAttentionHeads, 2);
  same(new RelativePositionBiases({ numBuckets: 8, maxDistance: 16, numHeads: 2 }).numAttentionHeads, 2);
  same(new TransformerLayer({ hiddenSize: 8, numHeads: 2 }).numAttentionHeads, 2);
  expect(warnings).toEqual([]);
  expectError(
    "option",
    /numHeads is another name of numAttentionHeads and must agree with it, got \[4, 2\]/,
    () => new TransformerLayer({ hiddenSize: 8, numHeads: 4, numAttentionHeads: 2 }),
  );
});
