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
