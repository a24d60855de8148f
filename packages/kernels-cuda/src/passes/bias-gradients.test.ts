/** Sums over what a product sums over become its second result, where the order of the program allows it. */
import { Program, type ProgramNode } from "@te/tensor/backend";
import { definedOps, type OpDefinition } from "@te/tensor/op";
import "@te/tensor";
import { describe, expect, test } from "vitest";
import { joinBiasGradients } from "./bias-gradients.js";

const op = (name: string): OpDefinition => definedOps().get(name)!;
const product = (a: number, b: number, y: number, axes = [0]): ProgramNode => ({
  op: op("dot"),
  inputs: [a, b, -1],
  outputs: [y],
  params: { lhsContract: axes, rhsContract: axes, lhsBatch: [], rhsBatch: [], dtype: "" },
});
const sum = (x: number, y: number, axes = [0]): ProgramNode => ({
  op: op("reduce_sum"),
  inputs: [x],
  outputs: [y],
  params: { axes, keepDims: false },
});
const exp = (x: number, y: number): ProgramNode => ({ op: op("exp"), inputs: [x], outputs: [y], params: {} });

/** Of x = 0 and dy = 1, [8, 8] each; 4 and above are sums. Everything that is made is returned. */
function joined(nodes: ProgramNode[], dtype: "bfloat16" | "float32" = "bfloat16", supported = true) {
  const values = Array.from({ length: 8 }, (_, i) => ({ shape: i < 4 ? [8, 8] : [8], dtype }));
  const program = new Program(
    values,
    [0, 1],
    [],
    nodes,
    nodes.flatMap(({ outputs }) => outputs),
  );
  const supports = () => supported || "no such kernel";
  return joinBiasGradients
    .run(program, { supports, changed: false })
    .nodes.map(({ op, inputs, outputs, params }) => [op.name, inputs, outputs, ...(params.of ? [params.of] : [])]);
}

describe("joinBiasGradients", () => {
  test("joins the sum of either operand, before or after the product", () => {
    const ofB = [["dot_bias_gradient", [0, 1], [2, 4], "b"]];
    expect(joined([product(0, 1, 2), sum(1, 4)])).toEqual(ofB);
    expect(joined([sum(1, 4), product(0, 1, 2)])).toEqual(ofB);
    expect(joined([sum(1, 4), product(1, 0, 2)])).toEqual([["dot_bias_gradient", [1, 0], [2, 4], "a"]]);
  });

  test("stands where the sum is needed, if the operands are there", () => {
    expect(joined([sum(1, 4), exp(4, 5), product(0, 1, 2)])).toEqual([
      ["dot_bias_gradient", [0, 1], [2, 4], "b"],
      ["exp", [4], [5]],
    ]);
  });

  test("waits for an operand that is made after the sum", () => {
    expect(joined([sum(1, 4), exp(0, 3), product(3, 1, 2)])).toEqual([
      ["exp", [0], [3]],
      ["dot_bias_gradient", [3, 1], [2, 4], "b"],
    ]);
    const needed = [sum(1, 4), exp(4, 5), exp(0, 3), product(3, 1, 2)];
    expect(joined(needed).map(([name]) => name)).toEqual(["reduce_sum", "exp", "exp", "dot"]);
  });

  test("leaves sums over other axes, other dtypes, and what the device has no kernel for", () => {
    const names = (...given: Parameters<typeof joined>) => joined(...given).map(([name]) => name);
    const apart = ["dot", "reduce_sum"];
    expect(names([product(0, 1, 2), sum(1, 4, [1])])).toEqual(apart);
    expect(names([product(0, 1, 2), sum(1, 4)], "float32")).toEqual(apart);
    expect(names([product(0, 1, 2), sum(1, 4)], "bfloat16", false)).toEqual(apart);
  });

  test("gives a sum to one product, and a product one sum", () => {
    const names = joined([product(0, 1, 2), product(0, 1, 3), sum(0, 5), sum(1, 4)]).map(([name]) => name);
    expect(names).toEqual(["dot_bias_gradient", "dot_bias_gradient"]);
  });
});
