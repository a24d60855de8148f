/** What the native executor is given: fused, planned, and without what needs no kernel. */
import { checkpoint, grad, makeProgram, softmax, type Tensor, zeros } from "@te/tensor";
import { runPasses } from "@te/tensor/backend";
import { expect, test } from "vitest";
import { CpuBackend, describeProgram } from "../src/backend.js";
import type { Native } from "../src/native.js";

const x = zeros([4, 8]);
const describe = (f: (...args: any[]) => unknown, ...args: Tensor[]) =>
  describeProgram(runPasses(makeProgram(f)(...args), () => true));

test("chains of elementwise ops are one node, whose memory is used again", () => {
  const { nodes, values, inputs, outputs, arenaBytes } = describe(
    (x: Tensor) => softmax(x.exp().mul(2)).reshape([32]).sin().sum(),
    x,
  );
  expect(nodes.map(({ op }) => op)).toEqual(["elementwise", "softmax", "elementwise", "reduce_sum"]);
  expect([inputs, outputs.length, arenaBytes]).toEqual([1, 1, 128]);
  expect(values.filter(({ kind }) => kind === 1).map(({ at }) => at)).toEqual([0, 0, 0, 0]);
});

test("a checkpoint leaves no trace but its recomputation", () => {
  const f = checkpoint((x: Tensor) => softmax(softmax(x)));
  const { nodes } = describe(
    grad((x: Tensor) => f(x).pow(2).sum()),
    x,
  );
  expect(nodes.map(({ op }) => op).filter((op) => op === "softmax")).toHaveLength(4);
  expect(nodes.map(({ op }) => op)).not.toContain("barrier");
});

test("the addon is asked once about nodes that are equal", () => {
  const asked: string[] = [];
  const native = {
    info: () => ({ isa: "none", isas: [], threads: 1, oneDNN: "none", problems: [] }),
    supports: ({ op }: { op: string }) => {
      asked.push(op);
      return null;
    },
  };
  const backend = new CpuBackend(native as unknown as Native);
  const program = makeProgram((x: Tensor) => [softmax(x), softmax(x.exp()), softmax(x.reshape([8, 4]))])(x);
  runPasses(program, (node) => backend.supports(node));
  expect(asked).toEqual(["softmax", "elementwise", "softmax"]);
});
