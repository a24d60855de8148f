/** A pass that replaces what a device has no kernel for by what it is made of. */
import type { Aval } from "../aval.js";
import type { NodeSpec } from "../backend.js";
import { fail } from "../errors.js";
import { expectFunction, expectObject } from "../expect.js";
import { nameInputs } from "../op.js";
import type { Tensor } from "../tensor.js";
import { withTrace } from "../trace.js";
import { lower } from "./lower.js";
import { expectProgram, Program, type ProgramNode } from "./program.js";

/**
 * Replaces every node that `supports` declines by its op's reference, until only supported nodes, primitives and views are
 * left. The program itself where there is nothing to replace.
 */
export function expand(program: Program, supports: (node: NodeSpec) => true | string): Program {
  expectProgram("expand", program);
  expectFunction("expand", { supports });
  const values: Aval[] = [...program.values];
  const nodes: ProgramNode[] = [];
  const constants = [...program.constants];
  const renamed = new Map<number, number>();
  const resolve = (id: number): number => renamed.get(id) ?? id;
  for (const node of program.nodes) {
    const answer = node.op.view || supports(program.spec(node));
    if (answer === true) {
      nodes.push({ ...node, inputs: node.inputs.map(resolve) });
      continue;
    }
    if (!node.op.reference) {
      // A primitive that the device lacks stays: it runs on the host.
      if (!node.op.evaluate) fail("unsupported", node.op.name, `no kernel on this device: ${answer}`);
      nodes.push({ ...node, inputs: node.inputs.map(resolve) });
      continue;
    }
    const inner = expand(traceReference(program, node), supports);
    const map = new Map<number, number>();
    const given = node.inputs.filter((id) => id >= 0);
    inner.inputs.forEach((id, i) => map.set(id, resolve(given[i]!)));
    const local = (id: number): number => {
      let outer = map.get(id);
      if (outer === undefined) {
        outer = values.push(inner.values[id]!) - 1;
        map.set(id, outer);
      }
      return outer;
    };
    for (const c of inner.constants) constants.push({ ...c, value: local(c.value) });
    for (const n of inner.nodes) {
      const inputs = n.inputs.map((id) => (id < 0 ? id : local(id)));
      nodes.push({ ...n, ...(node.recomputed && { recomputed: true }), inputs, outputs: n.outputs.map(local) });
    }
    inner.outputs.forEach((id, i) => renamed.set(node.outputs[i]!, local(id)));
  }
  if (renamed.size === 0) return program;
  return new Program(
    values,
    program.inputs,
    constants,
    nodes,
    program.outputs.map(resolve),
    program.donated,
    program.name,
  );
}

/** The reference of the composite that a node calls as a program of its own, over the node's present inputs. */
export function traceReference(program: Program, node: ProgramNode): Program {
  expectProgram("traceReference", program);
  expectObject("traceReference", { node, "node.op": node?.op });
  const { op } = node;
  expectFunction("traceReference", { "op.reference": op.reference });
  return withTrace((trace) => {
    const inputs = node.inputs.map((id) => (id < 0 ? undefined : trace.input(program.values[id]!)));
    const named = op.reference!(nameInputs(op, inputs), node.params) as Record<string, Tensor>;
    const outputs = op.outputs.map((name, i) => {
      const out = named[name];
      const want = program.values[node.outputs[i]!]!;
      if (!out || out.dtype !== want.dtype || String(out.shape) !== String(want.shape)) {
        fail(
          "state",
          op.name,
          `the reference must give output ${name} as the shape rule says, ${want.dtype}[${want.shape}]`,
          out,
        );
      }
      return out;
    });
    return lower(
      trace,
      inputs.filter((t) => t !== undefined),
      outputs,
    );
  });
}
