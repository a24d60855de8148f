/** What a node costs a device: floating-point operations, and bytes that it reads and writes. */
import { byteSize, type Program, type ProgramNode } from "@te/tensor/backend";
import { type Aval, bytesOf, nameInputs } from "@te/tensor/op";
import type { Hardware } from "./hardware.js";

export interface NodeCost {
  /** Of products alone: what else is computed waits for memory. */
  readonly flops: number;
  readonly bytes: number;
  readonly seconds: number;
}

const size = (shape: readonly number[]): number => shape.reduce((n, length) => n * length, 1);

/** Products of attention's backward pass, and those of the forward pass: qk, pv; qk again, dp, dv, dq, dk. */
const ATTENTION_PRODUCTS: Readonly<Record<string, number>> = {
  attention: 2,
  context_attention: 2,
  attention_backward: 5,
  context_attention_backward: 5,
};

/** Two for each product of a sum. A causal attention computes half of its scores. */
export function flopsOf(values: readonly Aval[], node: ProgramNode): number {
  const { op, params } = node;
  const given = nameInputs(
    op,
    node.inputs.map((id) => (id < 0 ? undefined : values[id]!)),
  );
  if (op.name === "dot" || op.name === "scaled_dot") {
    const contracted = (params.lhsContract as readonly number[]).map((axis) => given.a!.shape[axis]!);
    return 2 * size(values[node.outputs[0]!]!.shape) * size(contracted);
  }
  const products = ATTENTION_PRODUCTS[op.name];
  if (products === undefined) return 0;
  const q = given.q!.shape;
  const [batch, queries] = params.layout === "sbhd" ? [q[1]!, q[0]!] : [q[0]!, q[1]!];
  const [heads, depth] = q.slice(-2) as [number, number];
  const k = params.packing === "qkv" ? q : given.k!.shape;
  const keys = k[params.layout === "sbhd" ? 0 : 1]!;
  const window = (params.windowLeft as number) >= 0 ? Math.min(keys, (params.windowLeft as number) + 1) : keys;
  const seen = params.causal ? Math.min(window, (keys + 1) / 2) : window;
  return 2 * products * batch * heads * queries * seen * depth;
}

/** The roofline of a node: it takes as long as its products do, or as its bytes, whichever is longer. */
export function costOf(program: Program, node: ProgramNode, { flops: rates, bandwidth }: Hardware): NodeCost {
  const flops = flopsOf(program.values, node);
  if (node.op.view) return { flops, bytes: 0, seconds: 0 };
  const ids = [...node.inputs.filter((id) => id >= 0), ...node.outputs];
  const bytes = ids.reduce((n, id) => n + byteSize(program.values[id]!), 0);
  const width = flops > 0 ? bytesOf(program.values[node.inputs[0]!]!.dtype) : 4;
  const rate = rates[width === 1 || width === 2 ? width : 4];
  return { flops, bytes, seconds: Math.max(flops / rate, bytes / bandwidth) };
}
