/** What the native executor is given: fused, planned, and without what needs no kernel. */
import { checkpoint, grad, makeProgram, softmax, type Tensor, zeros } from "@te/tensor";
import {
  type Backend,
  describeProgram,
  lackingFunction,
  type NativeAddon,
  type NativeNode,
  type NativeProgram,
  nativeBackend,
  runPasses,
} from "@te/tensor/backend";
import { expect, test } from "vitest";

const x = zeros([4, 8]);

/** An addon that takes every node, and notes of which ops it was asked. */
function device(asked: string[] = []): Backend {
  const supports = ({ op }: NativeNode): null => {
    asked.push(op);
    return null;
  };
  // Everything else is there and not called.
  const native = new Proxy(
    { supports },
    { get: (known, name) => Reflect.get(known, name) ?? (() => expect.fail(String(name))) },
  );
  return nativeBackend({ name: "native", description: "takes all", native: native as unknown as NativeAddon });
}

function describe(f: (...args: any[]) => unknown, ...args: Tensor[]): NativeProgram {
  const supported = () => true as const;
  return describeProgram(runPasses(runPasses(makeProgram(f)(...args), supported), supported, device().passes));
}

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

test("the addon is asked once about nodes that are equal, and about elementwise ops as it would be given them", () => {
  const asked: string[] = [];
  const backend = device(asked);
  const program = makeProgram((x: Tensor) => [softmax(x), softmax(x.exp()), softmax(x.reshape([8, 4]))])(x);
  runPasses(program, (node) => backend.supports(node));
  expect(asked).toEqual(["softmax", "elementwise", "softmax"]);
});

test("an addon of other sources is known by what it lacks", () => {
  const all = Object.fromEntries(["own", "supports", "scratchBytes", "compile"].map((name) => [name, () => {}]));
  expect(lackingFunction(all)).toBe("destroy");
  expect(lackingFunction(all, ["own", "threads"])).toBe("threads");
});

test("a native backend is made of an addon that has all functions", () => {
  const made = (native: unknown) => nativeBackend({ name: "x", description: "y", native: native as NativeAddon });
  expect(() => made({ supports: () => null })).toThrow(
    /^nativeBackend: native must have .*, got one without scratchBytes\.$/,
  );
  expect(() => made(undefined)).toThrow(/^nativeBackend: native must be an object/);
});
