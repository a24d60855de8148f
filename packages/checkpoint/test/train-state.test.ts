/** Saved states: every kind of tree survives, templates must fit, and what cannot be saved or read is refused. */
import { join } from "node:path";
import { fc } from "@fast-check/vitest";
import { Tensor, tensor } from "@te/tensor";
import { describe, expect, test } from "vitest";
import { loadState, openSafetensors, saveState, writeSafetensors } from "../src/index.js";
import { teErrorOf, temporaryDirectory } from "./helpers.js";

/** Tensors as comparable values; everything else as it is. */
const plain = (value: unknown): unknown => {
  if (value instanceof Tensor) return { dtype: value.dtype, shape: value.shape, data: [...value.dataSync()] };
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return new Map(Object.entries(value).map(([key, item]) => [key, plain(item)]));
};

const save = async (state: unknown) => {
  const path = join(await temporaryDirectory(), "state.safetensors");
  await saveState(path, state);
  return path;
};

describe("a state survives", () => {
  const key = tensor(new Uint32Array([0, 42]));
  const codes = tensor(Uint8Array.of(0, 127, 255), { dtype: "float8_e4m3fn", shape: [3] });
  const STATES: [string, unknown][] = [
    [
      "a training state",
      {
        params: { dense: { kernel: tensor([[1, 2]]), bias: null } },
        optimizer: [{ count: tensor(3, { dtype: "int32" }) }, {}],
        fp8_metas: { scale: codes },
        key,
        step: 7,
        done: false,
        name: "run 1",
      },
    ],
    ["one tensor", key],
    ["one number", 0.1],
    ["nothing", null],
    ["undefined beside null", { a: undefined, b: null }],
    ["empty lists and records", { a: [], b: {}, c: [[], {}] }],
    [
      "numbers that JSON has not",
      [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 5e-324, 2 ** 53, 1e21],
    ],
    ["keys that look like paths", { "a/b": { c: key }, a: { "b/c": key, "b~1c": key, "": { "": key } }, "": key }],
    ["reserved keys", { __metadata__: key, constructor: key, toString: [key], ...JSON.parse('{"__proto__": 1}') }],
    ["a reserved key alone", Object.fromEntries([["__proto__", key]])],
    ["keys that look like indices", { 10: key, 9: key, x: [key, [key]] }],
  ];

  test.each(STATES)("%s", async (_, state) => {
    expect(plain(await loadState(await save(state)))).toEqual(plain(state));
    expect(plain(await loadState(await save(state), { template: state }))).toEqual(plain(state));
  });

  test("-0 stays -0", async () => {
    expect(Object.is(await loadState(await save(-0)), -0)).toBe(true);
  });

  test("keys keep their order", async () => {
    const loaded = await loadState<object>(await save({ b: 1, a: key, c: null }));
    expect(Object.keys(loaded)).toEqual(["b", "a", "c"]);
  });

  test("any tree", async () => {
    const path = join(await temporaryDirectory(), "state.safetensors");
    const leaf = fc.oneof(
      fc.double(),
      fc.string(),
      fc.boolean(),
      fc.constant(null),
      fc.constant(undefined),
      fc.integer().map((n) => tensor(n, { dtype: "int32" })),
    );
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { maxDepth: 4 },
        leaf,
        fc.array(tie("tree"), { maxLength: 3 }),
        fc.dictionary(fc.string(), tie("tree"), { maxKeys: 3, noNullPrototype: true }),
      ),
    }));
    await fc.assert(
      fc.asyncProperty(tree, async (state) => {
        await saveState(path, state);
        expect(plain(await loadState(path, { template: state }))).toEqual(plain(state));
      }),
      { numRuns: 60 },
    );
  });
});

test("tensors are named by their path, so that other tools can read them", async () => {
  const t = tensor([1]);
  await using file = await openSafetensors(await save({ params: { dense: { kernel: t } }, list: [t, t], "a/b~": t }));
  expect(file.names).toEqual(["a~1b~0", "list/0", "list/1", "params/dense/kernel"]);
});

describe("a template must fit (X06)", () => {
  const t = tensor([1, 2]);
  const saved = { params: { kernel: t, bias: t }, slots: [t, t], step: 3, rest: null };
  const CASES: [string, unknown, string][] = [
    [
      "a leaf is missing in the file",
      { ...saved, params: { ...saved.params, scale: t } },
      "params/scale of the template is missing in the file",
    ],
    [
      "a leaf is missing in the template",
      { ...saved, params: { kernel: t } },
      "params/bias of the file is not in the template",
    ],
    ["a list is longer", { ...saved, slots: [t, t, t] }, "slots/2 of the template is missing in the file"],
    ["a list is shorter", { ...saved, slots: [t] }, "slots/1 of the file is not in the template"],
    [
      "another shape",
      { ...saved, params: { kernel: tensor([[1, 2]]), bias: t } },
      "params/kernel must be float32[1,2] as in the template, got float32[2]",
    ],
    [
      "another dtype",
      { ...saved, params: { kernel: tensor([1, 2], { dtype: "bfloat16" }), bias: t } },
      "params/kernel must be bfloat16[2] as in the template, got float32[2]",
    ],
    ["another kind", { ...saved, step: "3" }, "step must be a string as in the template, got number"],
    ["null for a tensor", { ...saved, rest: t }, "rest must be a tensor as in the template, got null"],
    ["the root", [saved], "the root must be a list as in the template, got record"],
  ];

  test.each(CASES)("%s", async (_, template, rule) => {
    const path = await save(saved);
    const error = await teErrorOf(() => loadState(path, { template }));
    expect(error.code).toBe("state");
    expect(error.message).toBe(`loadState(${path}): ${rule}. Save and load with the same model and optimizer.`);
  });

  test("scalars may have other values", async () => {
    expect(await loadState(await save({ step: 3 }), { template: { step: 4 } })).toEqual({ step: 3 });
  });
});

describe("what cannot be saved", () => {
  test.each([
    ["a Map", new Map(), "Map"],
    ["a function", () => 1, "function"],
    ["a Date", new Date(), "Date"],
    ["a bigint", 1n, "bigint"],
  ])("%s", async (_, value, got) => {
    const error = await teErrorOf(() => save({ a: [value] }));
    expect(error.code).toBe("state");
    expect(error.message).toContain(`got ${got} at a/0.`);
  });

  test("a cycle", async () => {
    const state: Record<string, unknown> = {};
    state.self = state;
    expect((await teErrorOf(() => save(state))).message).toContain("Is there a cycle in it?");
  });
});

describe("a file that saveState did not write is refused", () => {
  const t = tensor([1]);
  const pair = (node: unknown) => ({ format: "te-state", version: "1", tree: JSON.stringify(node) });
  const record = (...keys: string[]) => ["record", keys.map((key) => [key, "tensor"])];
  const CASES: [string, Record<string, string>, string][] = [
    ["no metadata", {}, 'must say format "te-state"'],
    ["another format", { format: "pt" }, "got pt"],
    ["another version", { ...pair(record("w")), version: "2" }, "the version of the state must be 1, got 2"],
    ["a tree that is not JSON", { ...pair(0), tree: "{" }, "the tree in the metadata must be valid JSON"],
    ["a node that is not known", pair(["record", [["w", "tenser"]]]), "must describe a state, got tenser."],
    ["a pair that is not one", pair(["record", [["w"]]]), 'must describe a state, got ["w"].'],
    ["two leaves of one key", pair(record("w", "w")), "must occur once, got w."],
    ["a number that is not one", pair(["number", "1+1"]), "must describe a state"],
    ["a tree without end", pair(JSON.parse(`${'["list",['.repeat(999)}${"]]".repeat(999)}`)), "may be nested 200 deep"],
    ["a leaf without tensor", pair(record("w", "v")), "there is no tensor, got v"],
    ["a tensor without leaf", pair(record()), "every tensor of the file must be in the saved tree, got w"],
  ];

  test.each(CASES)("%s", async (_, metadata, rule) => {
    const path = join(await temporaryDirectory(), "state.safetensors");
    await writeSafetensors(path, { w: t }, metadata);
    const error = await teErrorOf(() => loadState(path));
    expect(error.code).toBe("file");
    expect(error.message).toContain(rule);
  });
});
