/** Elementwise nodes are joined where they have one shape, are small and read only what is given; constants are shared. */
import { elementwiseOp, Program, type ProgramNode } from "@te/tensor/backend";
import type { OpDefinition } from "@te/tensor/op";
import { describe, expect, test } from "vitest";
import { joinElementwise } from "./join-elementwise.js";

const elementwise = (inputs: number[], outputs: number[], code: string[], registers: number[]): ProgramNode => ({
  op: elementwiseOp,
  inputs,
  outputs,
  params: { code, outputs: registers },
});
const cast = (input: number, output: number): ProgramNode => elementwise([input], [output], ["cast bfloat16 %0"], [1]);
const inverse = (input: number, output: number): ProgramNode =>
  elementwise([input], [output], ["const float32 1", "div float32 %1 %0"], [2]);
const viewNode = (input: number, output: number, barrier: boolean): ProgramNode => ({
  op: { name: "view", view: true, barrier } as OpDefinition,
  inputs: [input],
  outputs: [output],
  params: {},
});

/** Values of the shapes, the first of which are given, and all of which the nodes' outputs may be. */
function joined(shapes: readonly (readonly number[])[], given: number, nodes: ProgramNode[], most = 16) {
  const values = shapes.map((shape) => ({ shape, dtype: "float32" as const }));
  const inputs = Array.from({ length: given }, (_, i) => i);
  const program = new Program(
    values,
    inputs,
    [],
    nodes,
    nodes.flatMap(({ outputs }) => outputs),
  );
  const supports = (spec: { inputs: readonly unknown[] }) => spec.inputs.length <= most || "too many inputs";
  return joinElementwise
    .run(program, { supports, changed: false })
    .nodes.map(({ inputs, outputs, params }) => [inputs, outputs, params.code, params.outputs]);
}

const vectors = (count: number): number[][] => Array.from({ length: count }, () => [3]);

describe("joinElementwise", () => {
  test("puts instructions one after the other, with one of each constant", () => {
    expect(joined(vectors(4), 2, [inverse(0, 2), inverse(1, 3)])).toEqual([
      [
        [0, 1],
        [2, 3],
        ["const float32 1", "div float32 %2 %0", "div float32 %2 %1"],
        [3, 4],
      ],
    ]);
  });

  test("reads an input once, of nodes of any code", () => {
    const sum = elementwise([1, 0], [3], ["add float32 %0 %1", "neg float32 %2"], [3]);
    expect(joined(vectors(4), 2, [cast(0, 2), sum])).toEqual([
      [
        [0, 1],
        [2, 3],
        ["cast bfloat16 %0", "add float32 %1 %0", "neg float32 %3"],
        [2, 4],
      ],
    ]);
  });

  test("takes sixteen at most", () => {
    const nodes = Array.from({ length: 20 }, (_, i) => cast(i, 20 + i));
    expect(joined(vectors(40), 20, nodes).map(([inputs]) => (inputs as number[]).length)).toEqual([16, 4]);
  });

  test("reads through other shapes, but not through barriers", () => {
    const through = (barrier: boolean) =>
      joined([[3], [3, 1], [3], [3], [3]], 1, [cast(0, 2), viewNode(0, 1, barrier), cast(1, 3)]).length;
    expect(through(false)).toBe(2);
    expect(through(true)).toBe(3);
  });

  test.each<[string, number[][], number, ProgramNode[]]>([
    ["of several shapes", [[3], [4], [3], [4]], 2, [cast(0, 2), cast(1, 3)]],
    ["that read what is computed", vectors(3), 1, [cast(0, 1), cast(1, 2)]],
    ["that are large", Array.from({ length: 4 }, () => [2 ** 11, 2 ** 11]), 2, [cast(0, 2), cast(1, 3)]],
    ["that read nothing", vectors(2), 0, [0, 1].map((id) => elementwise([], [id], ["const float32 1"], [0]))],
  ])("leaves nodes alone %s", (_, shapes, given, nodes) => {
    expect(joined(shapes, given, nodes).length).toBe(2);
  });

  test("leaves nodes alone that the device cannot do together", () => {
    expect(joined(vectors(4), 2, [cast(0, 2), cast(1, 3)], 1).length).toBe(2);
  });
});
