/** What is joined with the quantization of its result, and what must not be. */
import { quantizeOp } from "@te/fp8";
import { shardingConstraintOp } from "@te/sharding";
import { checkpoint, makeProgram, sin, stopGradient, type Tensor, vjp } from "@te/tensor";
import { type Program, runPasses } from "@te/tensor/backend";
import { normals } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { gatedActivationOp, layerNormOp, rmsNormOp } from "../src/index.js";

const x = normals([4, 16], { dtype: "bfloat16" });
const gamma = normals([16], { seed: "gamma", dtype: "bfloat16" });
const scale = normals([1]).abs();
const other = scale.mul(2);

const wide = (t: Tensor): Tensor => t.astype("float32");
const norm = (x: Tensor): Tensor => rmsNormOp({ x, gamma }).y;
const quantize = (x: Tensor, by = scale): Tensor => quantizeOp({ x, scale: by }).q;

const optimized = (f: (...args: any[]) => unknown, ...args: Tensor[]): Program =>
  runPasses(makeProgram(f)(...args), () => true);
const opsOf = (program: Program): string[] => program.nodes.map(({ op }) => op.name);

describe("constraints", () => {
  const options = { axes: ["tensor"], dims: [0], mesh: ["tensor"], meshShape: [2] };
  const constrained = (x: Tensor): Tensor => shardingConstraintOp({ x }, options).y;

  test("between a norm and its quantization are of FP8", () => {
    const program = optimized((x: Tensor) => quantize(constrained(norm(wide(x)))), x);
    expect(opsOf(program)).toEqual(["rms_norm_quantize", "sharding_constraint"]);
    expect(program.values[program.nodes[1]!.inputs[0]!]!.dtype).toBe("float8_e4m3fn");
    expect(program.nodes[1]!.params).toEqual(options);
  });

  test("of what others read too stay", () => {
    const f = (x: Tensor) => {
      const y = constrained(norm(wide(x)));
      return [quantize(y), y];
    };
    expect(opsOf(optimized(f, x))).toEqual(["cast", "rms_norm", "sharding_constraint", "quantize"]);
  });

  test("of what was widened are of 16 bits, and the gradient of a norm reads these", () => {
    const f = (dy: Tensor) => vjp((x: Tensor) => norm(wide(x)), x)[1](constrained(wide(dy)))[0];
    const program = optimized(f, x);
    expect(opsOf(program)).toEqual(["cast", "rms_norm", "sharding_constraint", "rms_norm_backward"]);
    const { inputs } = program.nodes[3]!;
    expect(inputs[0]).toBe(program.nodes[2]!.outputs[0]);
    expect(program.values[inputs[0]!]!.dtype).toBe("bfloat16");
  });
});

describe("join quantize", () => {
  test("a norm and an activation of what was widened, in one node that reads 16 bits", () => {
    const joined = optimized((x: Tensor) => quantize(norm(wide(x))), x);
    expect(opsOf(joined)).toEqual(["rms_norm_quantize"]);
    expect(joined.values[joined.nodes[0]!.inputs[0]!]!.dtype).toBe("bfloat16");
    const u = x.reshape([4, 1, 16]);
    expect(opsOf(optimized((u: Tensor) => quantize(gatedActivationOp({ u: wide(u) }).y), u))).toEqual([
      "gated_activation_quantize",
    ]);
  });

  test.each<[string, (x: Tensor) => unknown, string[]]>([
    ["is rounded to 16 bits first", (x) => quantize(norm(x)), ["rms_norm", "quantize"]],
    ["is a result", (x) => [norm(wide(x)), quantize(norm(wide(x)))], ["cast", "rms_norm", "quantize"]],
    [
      "is quantized twice",
      (x) => [quantize(norm(wide(x))), quantize(norm(wide(x)), other)],
      ["cast", "rms_norm", "quantize", "quantize"],
    ],
    [
      "has another reader",
      (x) => [quantize(norm(wide(x))), sin(norm(wide(x)))],
      ["cast", "rms_norm", "quantize", "sin"],
    ],
  ])("not a norm whose result %s", (_, f, ops) => {
    expect(opsOf(optimized(f, x))).toEqual(ops);
  });

  test("not where the scale comes from a statistic of the norm", () => {
    const f = (x: Tensor, beta: Tensor): Tensor => {
      const { y, mean } = layerNormOp({ x: wide(x), gamma, beta });
      return quantize(y, mean.slice([0], [1]));
    };
    expect(opsOf(optimized(f, x, gamma))).toEqual(["cast", "layer_norm", "slice", "quantize"]);
  });

  test("what is computed again is joined again, apart from its original", () => {
    const f = checkpoint((x: Tensor) => wide(stopGradient(quantize(norm(wide(x))))).mul(sin(wide(x))));
    const program = optimized(
      (x: Tensor, ct: Tensor) => {
        const [y, pull] = vjp((x: Tensor) => f(x), x);
        return [y, pull(ct)];
      },
      x,
      wide(x),
    );
    const joined = program.nodes.filter(({ op }) => op.name === "rms_norm_quantize");
    expect(joined.map(({ recomputed }) => recomputed === true)).toEqual([false, true]);
  });
});

describe("narrow gradients", () => {
  const backward = (f: (x: Tensor) => Tensor, x: Tensor, ct: Tensor): Program =>
    optimized((x: Tensor, ct: Tensor) => vjp(f, x)[1](ct)[0], x, ct);

  test("of a norm: dy, x and dx have 16 bits, where dx is rounded to them", () => {
    const program = backward((x) => norm(wide(x)), x, wide(x));
    expect(opsOf(program)).toEqual(["cast", "rms_norm", "rms_norm_backward"]);
    const { inputs, outputs } = program.nodes[2]!;
    const dtypes = [...inputs.slice(0, 2), outputs[0]!].map((id) => program.values[id]!.dtype);
    expect(dtypes).toEqual(["float32", "bfloat16", "bfloat16"]);
  });

  test("of a norm of float32: dx stays float32", () => {
    const program = backward((x) => norm(x), wide(x), wide(x));
    expect(opsOf(program)).toEqual(["rms_norm", "rms_norm_backward"]);
  });

  test("of an activation: du stays float32 until it is cast", () => {
    const u = x.reshape([4, 1, 16]);
    const program = backward((u) => gatedActivationOp({ u: wide(u) }).y, u, wide(x));
    expect(opsOf(program)).toEqual(["gated_activation_backward", "cast"]);
    expect(program.nodes[0]!.params.wide).toBe(true);
  });
});
