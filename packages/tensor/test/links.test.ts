/** Who makes and who reads values, and nodes that take the places of others. */
import { exp, makeProgram, sin, type Tensor, zeros } from "@te/tensor";
import { evaluateProgram, Links, type ProgramNode, replaceNodes } from "@te/tensor/backend";
import { cosOp } from "@te/tensor/op";
import { expectError } from "@te/testkit";
import { expect, test } from "vitest";

const x = zeros([2]);
const program = makeProgram((x: Tensor) => {
  const y = sin(x);
  return [exp(y), y.mul(y), exp(x)];
})(x);
const node = (name: string, at = 0): ProgramNode => program.nodes.filter(({ op }) => op.name === name)[at]!;

test("links tell makers and readers", () => {
  const links = new Links(program);
  const [y] = node("sin").outputs;
  expect(links.producerOf(y!)).toBe(node("sin"));
  expect(links.producerOf(program.inputs[0]!)).toBeUndefined();
  expect(links.usersOf(y!)).toEqual([node("exp"), node("mul")]);
  expect(links.usersOf(program.inputs[0]!)).toEqual([node("sin"), node("exp", 1)]);
  expect(links.usersOf(program.outputs[0]!)).toEqual([]);
  expect(links.isBefore(node("sin"), node("mul"))).toBe(true);
  expect(links.isBefore(node("mul"), node("sin"))).toBe(false);
});

test("a value with one reader has it alone only where the program does not return it", () => {
  const chain = makeProgram((x: Tensor) => exp(sin(x)))(x);
  const [first, second] = chain.nodes;
  expect(new Links(chain).onlyUserOf(first!.outputs[0]!)).toBe(second);
  expect(new Links(program).onlyUserOf(node("sin").outputs[0]!)).toBeUndefined();
  const returned = makeProgram((x: Tensor) => {
    const y = sin(x);
    return [y, exp(y)];
  })(x);
  expect(new Links(returned).onlyUserOf(returned.outputs[0]!)).toBeUndefined();
});

test("other nodes make the same values; what nobody reads any more goes", () => {
  const chain = makeProgram((x: Tensor) => exp(sin(x)))(x);
  const [first, second] = chain.nodes as [ProgramNode, ProgramNode];
  const cosine = { ...second, op: cosOp.definition, inputs: first.inputs };
  const replaced = replaceNodes(chain, new Map([[second, [cosine]]]));
  expect(replaced.nodes).toEqual([cosine]);
  const [y] = evaluateProgram(replaced, [{ shape: [2], dtype: "float32", data: new Float32Array([0, 0]) }]);
  expect([...y!.data]).toEqual([1, 1]);
  const joined = replaceNodes(
    chain,
    new Map<ProgramNode, ProgramNode[]>([
      [first, []],
      [second, [cosine]],
    ]),
  );
  expect(joined.nodes).toEqual([cosine]);
  expect(replaceNodes(chain, new Map())).toBe(chain);
});

test("nodes may make values that were not there", () => {
  const chain = makeProgram((x: Tensor) => exp(sin(x)))(x);
  const second = chain.nodes[1]!;
  const between = { ...second, op: cosOp.definition, outputs: [chain.values.length] };
  const after = { ...second, inputs: between.outputs };
  const longer = replaceNodes(chain, new Map([[second, [between, after]]]), [...chain.values, chain.values[0]!]);
  expect(longer.nodes.map(({ op }) => op.name)).toEqual(["sin", "cos", "exp"]);
  const [y] = evaluateProgram(longer, [{ shape: [2], dtype: "float32", data: new Float32Array([0, 0]) }]);
  expect(y!.data[0]).toBeCloseTo(Math.E, 5);
});

test("wrong arguments are named", () => {
  expectError("option", /Links: program must be a Program, got 1/, () => new Links(1 as never));
  expectError("option", /replaceNodes: replaced must be a Map of nodes, got 1/, () =>
    replaceNodes(program, 1 as never),
  );
});
