/**
 * Reverse mode on a trace: walks the recorded nodes backwards, calls each op's vjp, and so records the gradient's nodes
 * in the same trace. Gradients of gradients need nothing more.
 */
import { formatAval, sameShape } from "../aval.js";
import { zeros } from "../create.js";
import { isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { inputNames, nameInputs, nameOutputs, type OpDefinition } from "../op.js";
import { barrierOp } from "../ops/mark.js";
import type { Tensor } from "../tensor.js";
import type { Trace, TraceNode } from "../trace.js";
import { nextStates, type StateFlow, takeStates } from "./state.js";

type Cotangents = Map<Tensor, Tensor>;
type Seeds = readonly (readonly [Tensor, Tensor])[];

/**
 * Cotangents of `wrt`, given those of values computed by nodes [start, end). undefined: no path leads there. Of what is
 * state, `named` or marked as such in the trace, the value after the step.
 */
export function backward(
  trace: Trace,
  start: number,
  seeds: Seeds,
  wrt: readonly Tensor[],
  named: ReadonlySet<Tensor> = new Set(),
): (Tensor | undefined)[] {
  const flow: StateFlow = { uses: [], given: [] };
  const { cotangents, active } = pullSeeds(trace, start, seeds, wrt, flow);
  const next = nextStates(trace, start, wrt, named, active, flow);
  return wrt.map((t) => next.get(t) ?? cotangents.get(t));
}

/** The cotangents that reach `wrt`; uses of state on the way join `flow`. */
function pullSeeds(trace: Trace, start: number, seeds: Seeds, wrt: readonly Tensor[], flow: StateFlow) {
  const end = trace.nodes.length;
  const active = findActive(trace, start, end, wrt);
  const cotangents: Cotangents = new Map();
  for (const [value, seed] of seeds) if (active.has(value)) accumulate(cotangents, value, seed);
  pull(trace, start, end, cotangents, active, flow);
  return { cotangents, active };
}

/** The values that depend on `wrt` in a way that has a derivative. */
function findActive(trace: Trace, start: number, end: number, wrt: readonly Tensor[]): Set<Tensor> {
  const active = new Set(wrt);
  for (let i = start; i < end; i++) {
    const node = trace.nodes[i]!;
    if (node.op.stopsGradient) continue;
    const inputs = node.region && node.region.kind !== "recompute" ? node.region.args : node.inputs;
    if (!inputs.some((t) => t && active.has(t))) continue;
    for (const out of node.outputs) if (isFloat(out.dtype)) active.add(out);
  }
  return active;
}

function pull(
  trace: Trace,
  start: number,
  end: number,
  cotangents: Cotangents,
  active: Set<Tensor>,
  flow: StateFlow,
): void {
  for (let i = end - 1; i >= start; i--) {
    const node = trace.nodes[i]!;
    const grads = node.outputs.map((out) => cotangents.get(out));
    const reached = grads.some((g) => g !== undefined);
    if (node.region) {
      // Its nodes are visited too: cotangents reach them only where a pullback read them, as in second derivatives.
      if (reached) pullRegion(trace, i, node, grads, cotangents, active, flow);
      continue;
    }
    if (!reached || !node.inputs.some((t) => t && active.has(t))) continue;
    pullNode(trace, node, grads, cotangents, active, flow);
  }
}

function pullNode(
  trace: Trace,
  node: TraceNode,
  grads: (Tensor | undefined)[],
  cotangents: Cotangents,
  active: Set<Tensor>,
  flow: StateFlow,
): void {
  const { op } = node;
  if (!op.vjp) {
    if (!op.reference)
      fail("unsupported", op.name, "this op has no derivative", undefined, "Wrap its operand in stopGradient.");
    pullReference(trace, node, grads, cotangents, active, flow);
    return;
  }
  const names = inputNames(op, node.inputs.length);
  const results = op.vjp({
    inputs: nameInputs(op, node.inputs) as never,
    outputs: nameOutputs(op, node.outputs) as never,
    grads: Object.fromEntries(op.outputs.map((name, k) => [name, grads[k]])) as never,
    params: node.params,
  }) as Record<string, Tensor | undefined>;
  names.forEach((name, k) => {
    const input = node.inputs[k];
    const grad = results[name];
    if (input && grad && active.has(input)) accumulate(cotangents, input, grad);
  });
}

/** Differentiates a composite through its reference. */
function pullReference(
  trace: Trace,
  node: TraceNode,
  grads: (Tensor | undefined)[],
  cotangents: Cotangents,
  active: Set<Tensor>,
  flow: StateFlow,
): void {
  const op: OpDefinition = node.op;
  const start = trace.nodes.length;
  const outputs = op.reference!(nameInputs(op, node.inputs) as never, node.params) as Record<string, Tensor>;
  const wrt = node.inputs.filter((t): t is Tensor => t !== undefined && active.has(t));
  const seeds = op.outputs.flatMap((name, k) => (grads[k] ? [[outputs[name]!, grads[k]] as const] : []));
  const pulled = pullSeeds(trace, start, seeds, wrt, flow).cotangents;
  for (const input of wrt) {
    const grad = pulled.get(input);
    if (grad) accumulate(cotangents, input, grad);
  }
}

function pullRegion(
  trace: Trace,
  index: number,
  node: TraceNode,
  grads: (Tensor | undefined)[],
  cotangents: Cotangents,
  active: Set<Tensor>,
  flow: StateFlow,
): void {
  const region = node.region!;
  if (region.kind !== "recompute") {
    const zero = (out: Tensor): Tensor => zeros(out.shape, { dtype: out.dtype });
    const given = region.kind === "custom" ? node.outputs.map((out, k) => grads[k] ?? zero(out)) : grads;
    takeStates(trace, region.args, region.pullback!(region.residuals, given), flow).forEach((grad, k) => {
      const arg = region.args[k]!;
      if (grad && active.has(arg)) accumulate(cotangents, arg, grad);
    });
    return;
  }
  const { start, external, replica } = recompute(trace, region.start, index, region.saves);
  const seeds: [Tensor, Tensor][] = [];
  node.inputs.forEach((t, k) => {
    if (!grads[k]) return;
    const again = replica.get(t!);
    if (again) seeds.push([again, grads[k]]);
    else if (active.has(t!)) accumulate(cotangents, t!, grads[k]); // the function returned its argument
  });
  const inputs = [...external.keys()].filter((t) => active.has(t));
  const replicas = inputs.map((t) => external.get(t)!);
  const pulled = pullSeeds(trace, start, seeds, replicas, flow).cotangents;
  inputs.forEach((input, k) => {
    const grad = pulled.get(replicas[k]!);
    if (grad) accumulate(cotangents, input, grad);
  });
}

/** x behind a barrier. Its place in the trace is its id: one trace has it once, and equal traces have equal ones. */
const barrier = (trace: Trace, x: Tensor): Tensor => barrierOp({ x }, { id: trace.nodes.length }).y;

/**
 * Records nodes [from, to) again, reading values from outside through barriers so that the copy is not merged with the
 * original. Nodes that `saves` keeps are read from the original.
 */
function recompute(trace: Trace, from: number, to: number, saves?: (node: TraceNode) => boolean) {
  const inside = new Set<Tensor>();
  for (let i = from; i < to; i++) for (const out of trace.nodes[i]!.outputs) inside.add(out);
  const external = new Map<Tensor, Tensor>();
  const replica = new Map<Tensor, Tensor>();
  const start = trace.nodes.length;
  // All of them come first: inside of a region, whose nodes are not walked one by one, gradients would not pass them.
  for (let i = from; i < to; i++) {
    const { inputs, region } = trace.nodes[i]!;
    for (const t of [...inputs, ...(region?.args ?? []), ...(region?.residuals ?? [])])
      if (t && !inside.has(t) && !external.has(t)) external.set(t, barrier(trace, t));
  }
  const substitute = (t: Tensor): Tensor => replica.get(t) ?? external.get(t)!;
  const firstNode = new Map<number, number>();
  for (let i = from; i < to; i++) {
    const node = trace.nodes[i]!;
    firstNode.set(i, trace.nodes.length);
    let outputs: Tensor[];
    if (node.region) {
      const { region } = node;
      outputs = trace.recordRegion(
        node.inputs.map((t) => substitute(t!)),
        {
          ...region,
          start: firstNode.get(region.start) ?? trace.nodes.length,
          args: region.args.map(substitute),
          residuals: region.residuals.map(substitute),
        },
      );
    } else if (saves?.(node)) {
      // The saved value stands for the recomputed one, but its gradient still flows through the recomputation.
      outputs = linkSaved(trace, node, substitute);
    } else {
      const inputs = node.inputs.map((t) => t && substitute(t));
      outputs = trace.record(node.op, inputs, node.params, { recomputed: true });
    }
    node.outputs.forEach((out, k) => replica.set(out, outputs[k]!));
  }
  return { start, external, replica };
}

/**
 * A region whose values are those that the node has already and whose derivative is the node's, taken from these values
 * and from the recomputed inputs: nothing runs the node again.
 */
function linkSaved(trace: Trace, node: TraceNode, substitute: (t: Tensor) => Tensor): Tensor[] {
  const inputs = node.inputs.map((t) => t && substitute(t));
  const args = [...new Set(inputs.filter((t) => t !== undefined))];
  const start = trace.nodes.length;
  const saved = node.outputs.map((out) => barrier(trace, out));
  const outputs: Tensor[] = trace.recordRegion(saved, {
    start,
    kind: "saved",
    args,
    residuals: [],
    pullback: (_, grads) => {
      const cotangents: Cotangents = new Map();
      pullNode(trace, { ...node, inputs, outputs }, [...grads], cotangents, new Set(args), { uses: [], given: [] });
      return args.map((arg) => cotangents.get(arg));
    },
  });
  return outputs;
}

/** Adds a cotangent. It takes the dtype of its value; its shape must be that of its value. */
export function accumulate(cotangents: Cotangents, value: Tensor, grad: Tensor): void {
  if (!sameShape(grad.shape, value.shape)) {
    fail("shape", "grad", `a cotangent must have the shape of its value, ${formatAval(value)}`, grad);
  }
  const typed = grad.dtype === value.dtype ? grad : grad.astype(value.dtype);
  const before = cotangents.get(value);
  cotangents.set(value, before ? before.add(typed) : typed);
}
