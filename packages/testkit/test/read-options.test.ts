/** Public names read from the sources: options, arguments and defaults, and comments that agree with the code. */
import * as fp8 from "@te/fp8";
import * as layers from "@te/layers";
import * as sharding from "@te/sharding";
import * as transformer from "@te/transformer";
import { describe, expect, test } from "vitest";
import { readOptions } from "../src/read-options.js";

const names = new Map(
  readOptions(["@te/sharding", "@te/fp8", "@te/layers", "@te/transformer"]).map((of) => [of.name, of]),
);
const parameter = (of: string, name: string) => names.get(of)!.parameters.find((p) => p.name === name);

describe("public names read from the source", () => {
  test("options of a constructor, with types, defaults and comments", () => {
    expect(parameter("LayerNorm", "epsilon")).toEqual({
      name: "epsilon",
      type: "number",
      required: false,
      doc: "Added to the variance, or to the mean square. Default 1e-6.",
      default: "1e-6",
    });
    expect(parameter("DenseGeneral", "features")).toMatchObject({ required: true, type: "number | readonly number[]" });
    expect(parameter("DelayedScaling", "overrideLinearPrecision")!.default).toBe("[false, false, false]");
  });

  test("inherited options", () =>
    expect(parameter("DenseGeneral", "lowRankAdaptationDim")).toMatchObject({ default: "32" }));

  test("arguments of call, and its options", () => {
    const call = names.get("DotProductAttention")!.call.map(({ name }) => name);
    expect(call).toEqual(expect.arrayContaining(["query", "key", "value", "bias", "deterministic"]));
  });

  test("static methods where the constructor is private", () => {
    const { parameters, values } = names.get("SequenceDescriptor")!;
    expect(parameters).toEqual([]);
    expect(Object.keys(values)).toContain("fromSeqlens");
    expect(Object.keys(values)).not.toContain("fromPositions");
  });

  test("functions, mapped types and constants", () => {
    expect(names.get("updateCollections")!.parameters.map(({ name }) => name)).toEqual(["fresh", "original"]);
    expect(parameter("fp8Autocast", "fp8Recipe")).toBeDefined();
    expect(parameter("MeshResource", "dpResource")).toMatchObject({ required: false });
    expect(names.get("BATCH_AXES")).toMatchObject({ kind: "constant", values: { "": "nvte_batch" } });
    expect(names.get("TransformerLayerType")!.values).toEqual({ ENCODER: "encoder", DECODER: "decoder" });
  });
});

describe("what comments say of defaults is what the code has", () => {
  const classes = Object.entries({ ...sharding, ...fp8, ...layers, ...transformer }).filter(
    ([name, value]) => typeof value === "function" && "defaults" in value && names.has(name),
  );
  test.each(classes)("%s", (name, value) => {
    const { defaults } = value as unknown as { defaults: Record<string, unknown> };
    const { parameters } = names.get(name)!;
    expect(parameters.map((p) => p.name).sort()).toEqual(Object.keys(defaults).sort());
    for (const { name: option, required, default: said } of parameters) {
      const value = defaults[option];
      if (required || value === undefined || typeof value === "function") continue;
      expect(said, option).toBeDefined();
      expect(readValue(said!, typeof value), option).toEqual(value);
    }
  });
});

/** A default as comments spell it: a string with or without its quotes, JSON, or a path such as Format.HYBRID. */
function readValue(said: string, type: string): unknown {
  const isPath = /^[A-Z]\w+\.[A-Z]+$/.test(said);
  if (isPath) return said.split(".").reduce<any>((node, part) => node[part], { ...fp8, ...transformer });
  return type === "string" ? said.replace(/^"(.*)"$/, "$1") : JSON.parse(said);
}
