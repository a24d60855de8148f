/** Nodes are joined where none needs another, and share memory where no other operand lies in it. */
import { joinNodes, Program, type ProgramNode } from "@te/tensor/backend";
import type { OpDefinition } from "@te/tensor/op";
import { describe, expect, test } from "vitest";
import { sharedMemory } from "../src/program/join.js";

const op = (name: string, view = false): OpDefinition =>
  ({
    name,
    key: name,
    inputs: [],
    variadic: true,
    outputs: ["y"],
    params: {},
    shape: () => ({}) as never,
    view,
  }) as OpDefinition;
const node = (name: string, inputs: number[], outputs: number[]): ProgramNode => ({
  op: op(name, name === "view"),
  inputs,
  outputs,
  params: {},
});
const programOf = (inputs: number, nodes: ProgramNode[], outputs: number[]): Program => {
  const highest = Math.max(inputs - 1, ...nodes.flatMap((n) => n.outputs));
  const values = Array.from({ length: highest + 1 }, () => ({ shape: [2], dtype: "float32" as const }));
  return new Program(
    values,
    Array.from({ length: inputs }, (_, i) => i),
    [],
    nodes,
    outputs,
  );
};
const joinAll = (members: readonly ProgramNode[]): ProgramNode => ({
  op: op(`${members.length} ${members[0]!.op.name}`),
  inputs: members.flatMap((m) => m.inputs),
  outputs: members.flatMap((m) => m.outputs),
  params: {},
});
const joined = (program: Program, kinds: string[]): string[] =>
  joinNodes(program, ({ op }) => (kinds.includes(op.name) ? op.name : undefined), joinAll).nodes.map(
    ({ op, inputs, outputs }) => `${op.name}(${inputs}) ${outputs}`,
  );

describe("joinNodes", () => {
  test("joins what is independent, behind its operands and before its users", () => {
    const nodes = [
      node("a", [0], [1]),
      node("x", [1], [2]),
      node("b", [0], [3]),
      node("a", [3], [4]),
      node("x", [4], [5]),
    ];
    expect(joined(programOf(1, nodes, [2, 5]), ["a"])).toEqual(["b(0) 3", "2 a(0,3) 1,4", "x(1) 2", "x(4) 5"]);
  });

  test("leaves chains alone, and joins chains side by side link by link", () => {
    const chain = [node("a", [0], [1]), node("a", [1], [2]), node("a", [2], [3])];
    expect(joined(programOf(1, chain, [3]), ["a"])).toEqual(["a(0) 1", "a(1) 2", "a(2) 3"]);
    const two = [node("a", [0], [1]), node("a", [1], [2]), node("a", [0], [3]), node("a", [3], [4])];
    expect(joined(programOf(1, two, [2, 4]), ["a"])).toEqual(["2 a(0,0) 1,3", "2 a(1,3) 2,4"]);
  });

  test("does not close a way through another node, nor one through another kind that is joined", () => {
    const through = [node("a", [0], [1]), node("x", [1], [2]), node("a", [2], [3])];
    expect(joined(programOf(1, through, [3]), ["a"])).toEqual(["a(0) 1", "x(1) 2", "a(2) 3"]);
    // a → b and b → a: joining both kinds would be a circle.
    const crossed = [node("a", [0], [1]), node("b", [1], [2]), node("b", [0], [3]), node("a", [3], [4])];
    expect(joined(programOf(1, crossed, [2, 4]), ["a", "b"])).toEqual(["b(0) 3", "2 a(0,3) 1,4", "b(1) 2"]);
  });
});

test("operands share memory with results where nothing else reads it, under any name", () => {
  const view = node("view", [1], [3]);
  const program = programOf(3, [view], [3]);
  const pairs = [
    [0, 0],
    [1, 1],
    [2, 2],
  ] as const;
  expect(sharedMemory(program, { inputs: [0, 1, 2] }, pairs)).toEqual([
    ["0", "0"],
    ["1", "1"],
    ["2", "2"],
  ]);
  expect(sharedMemory(program, { inputs: [0, 1, 2, 0, 3] }, pairs)).toEqual([["2", "2"]]);
});
