/** Calls that devices compute together: an op's course on each of them, in step, and what they exchange. */
import type { Tensor } from "@te/tensor";
import { byteSize, type NodeSpec } from "@te/tensor/backend";
import { definedOps, expectObject, fail, runShardTogether, type Sent, withTrace } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";
import type { Exchange, Parts } from "./emit.js";
import { shardOf } from "./factors.js";
import { countAlong, partShape } from "./layout.js";
import type { Collective, OpStep, SplitValue } from "./partitioned.js";
import { type Sending, sentBytes } from "./reshard.js";

/** Whether a node may only be replaced by what it is made of once it is known how a mesh splits it. */
export function isForMesh(node: NodeSpec): boolean {
  expectObject("isForMesh", { node });
  return node.op === "shard_map" || Boolean(definedOps().get(node.op)?.together);
}

/** Whether the devices exchange while they compute a step. */
export const isTogether = ({ rule, assignment }: OpStep): boolean =>
  [...assignment.keys()].some((factor) => rule.factors[factor]!.split === "together");

/** The results of a step on some devices. */
export function runTogether(
  mesh: Mesh,
  step: OpStep,
  given: readonly (Parts | undefined)[],
  devices: readonly number[],
  exchange: Exchange,
): Parts[] {
  const { op, params } = step.node;
  const courses = devices.map((device) =>
    runShardTogether(
      shardOf(mesh, step, device),
      given.map((parts) => parts?.get(device)),
      params,
    ),
  );
  let turns = courses.map((course) => course.next());
  for (;;) {
    const sent = turns.flatMap(({ done, value }) => (done ? [] : [value as Sent]));
    if (sent.length === 0) break;
    if (sent.length < devices.length || sent.some(({ kind }) => kind !== sent[0]!.kind))
      fail(
        "state",
        op.name,
        "devices that compute together must exchange in step",
        sent.map(({ kind }) => kind),
      );
    const parts = new Map(devices.map((device, i) => [device, sent[i]!.x]));
    const got = exchange(mesh, moveOf(step, sent[0]!), parts, op.name);
    turns = courses.map((course, i) => course.next(got.get(devices[i]!)!));
  }
  const results = turns.map(({ value }) => value as Tensor[]);
  return step.outputs.map((_, i) => new Map(devices.map((device, k) => [device, results[k]![i]!])));
}

function moveOf({ assignment }: OpStep, sent: Sent): Exclude<Sending, { kind: "all_reduce" | "all_to_all" }> {
  const [axis] = assignment.get(sent.factor)!;
  const { x: _, factor: __, ...how } = sent;
  return { ...how, axis: axis! };
}

/** What a step exchanges, in order: that of its first device. */
export function collectivesTogether(mesh: Mesh, step: OpStep, values: readonly SplitValue[]): Collective[] {
  const found: Collective[] = [];
  withTrace((trace) => {
    const given = step.inputs.map((id) => {
      if (id < 0) return undefined;
      const { aval, layout } = values[id]!;
      return new Map([[0, trace.input({ shape: partShape(mesh, layout, aval.shape), dtype: aval.dtype })]]);
    });
    runTogether(mesh, step, given, [0], (_, move, parts, purpose) => {
      const x = parts.get(0)!;
      const axes = move.kind === "all_reduce" ? move.axes : [move.axis];
      const devices = countAlong(mesh, axes);
      const grown = { all_gather: devices, reduce_scatter: 1 / devices } as Readonly<Record<string, number>>;
      const shape = x.shape.map((d, i) => ("dim" in move && i === move.dim ? d * (grown[move.kind] ?? 1) : d));
      const y = trace.input({ shape, dtype: x.dtype });
      const bytes = Math.max(byteSize(x), byteSize(y));
      found.push({ kind: move.kind, axes, devices, bytes, sent: sentBytes(move.kind, bytes, devices), for: purpose });
      return new Map([[0, y]]);
    });
  });
  return found;
}
